import { EspalierError, type Learner } from '@espalier/spec';
import { SharedPrefixes, type SharedPrefix } from './shared-prefixes';

interface Question {
  prompt: Int32Array;
  continuations: readonly Int32Array[];
}

/** A sequence to compute: where it goes on from another, and the first of its tokens whose log-prob is asked for. */
interface Sequence {
  tokens: Int32Array;
  prefix: number;
  asked: number;
  /** Question and continuation, where any are asked for. */
  of?: [number, number];
}

/**
 * Log-prob (nats, temperature 1) of each continuation of each prompt, summed over its tokens. A prompt is computed once for all of its continuations, or
 * what it shares with other prompts once for all of them, whichever is less; the language-model head works on the continuations alone. Products are in
 * fp32, as in `sequenceLogps`.
 * @throws EspalierError `bad_data` for an empty prompt or continuation, or one that the model cannot take
 */
export async function continuationLogps(learner: Learner, questions: readonly Question[], signal?: AbortSignal): Promise<number[][]> {
  questions.forEach(({ prompt, continuations }, q) => {
    if (prompt.length === 0) throw new EspalierError('bad_data', `prompt ${q} to be continued is empty`);
    const empty = continuations.findIndex(({ length }) => length === 0);
    if (empty >= 0) throw new EspalierError('bad_data', `continuation ${empty} of prompt ${q} has no tokens`);
  });
  const results = questions.map(({ continuations }) => continuations.map(() => 0));
  const asked = questions.flatMap((_, q) => (questions[q].continuations.length > 0 ? [q] : []));
  if (asked.length === 0) return results;

  const shared = new SharedPrefixes();
  for (const q of asked) shared.add(questions[q].prompt);
  const sequences: Sequence[] = [];
  for (const { length, members } of shared.groups) addGroup(sequences, questions, { length, members: members.map((m) => asked[m]) });

  const offsets = new Int32Array(sequences.length + 1);
  sequences.forEach(({ tokens }, s) => (offsets[s + 1] = offsets[s] + tokens.length));
  const tokens = new Int32Array(offsets[sequences.length]);
  const actionIndex: number[] = [];
  sequences.forEach((sequence, s) => {
    tokens.set(sequence.tokens, offsets[s]);
    if (sequence.of) for (let t = offsets[s] + sequence.asked; t < offsets[s + 1]; t++) actionIndex.push(t);
  });
  const batch = { tokens, offsets, prefixOf: Int32Array.from(sequences, ({ prefix }) => prefix), actionIndex: Int32Array.from(actionIndex), columns: {}, normalizer: { tokens: actionIndex.length, sequences: sequences.length } };
  const { logps } = await learner.forward(batch, ['logps'], { signal, precision: 'fp32' });
  let next = 0;
  for (const { tokens, asked: first, of } of sequences) if (of) results[of[0]][of[1]] = logps!.subarray(next, (next += tokens.length - first)).reduce((sum, logp) => sum + logp, 0);
  return results;
}

/** Sequences of prompts that begin alike. A prefix has no prefix itself: sharing a beginning means that each continuation takes the rest of its prompt along. */
function addGroup(sequences: Sequence[], questions: readonly Question[], { length, members }: SharedPrefix): void {
  const apart = members.reduce((sum, q) => sum + questions[q].prompt.length, 0);
  const together = length + members.reduce((sum, q) => sum + questions[q].continuations.length * (questions[q].prompt.length - length), 0);
  const sharing = length > 0 && together < apart;
  const common = sharing ? sequences.push({ tokens: questions[members[0]].prompt.subarray(0, length), prefix: -1, asked: 0 }) - 1 : -1;
  for (const q of members) {
    const { prompt, continuations } = questions[q];
    const prefix = sharing ? common : sequences.push({ tokens: prompt, prefix: -1, asked: 0 }) - 1;
    const rest = sharing ? prompt.subarray(length) : new Int32Array(0);
    continuations.forEach((continuation, k) => sequences.push({ tokens: Int32Array.from([...rest, ...continuation]), prefix, asked: rest.length, of: [q, k] }));
  }
}
