import { EspalierError, type Learner } from '@espalier/spec';

/**
 * Log-prob (nats, temperature 1) of each continuation of each prompt, summed over its tokens. A prompt is computed once for all of its continuations, and the
 * language-model head works on the continuations alone. Products are in fp32, as in `sequenceLogps`.
 * @throws EspalierError `bad_data` for an empty prompt or continuation, or one that the model cannot take
 */
export async function continuationLogps(learner: Learner, questions: readonly { prompt: Int32Array; continuations: readonly Int32Array[] }[], signal?: AbortSignal): Promise<number[][]> {
  const sequences: Int32Array[] = [];
  const prefixOf: number[] = [];
  questions.forEach(({ prompt, continuations }, q) => {
    if (prompt.length === 0) throw new EspalierError('bad_data', `prompt ${q} to be continued is empty`);
    const prefix = sequences.push(prompt) - 1;
    prefixOf.push(-1);
    continuations.forEach((continuation, k) => {
      if (continuation.length === 0) throw new EspalierError('bad_data', `continuation ${k} of prompt ${q} has no tokens`);
      sequences.push(continuation);
      prefixOf.push(prefix);
    });
  });
  if (questions.every(({ continuations }) => continuations.length === 0)) return questions.map(() => []);
  const offsets = new Int32Array(sequences.length + 1);
  sequences.forEach((sequence, s) => (offsets[s + 1] = offsets[s] + sequence.length));
  const tokens = new Int32Array(offsets[sequences.length]);
  const actionIndex: number[] = [];
  sequences.forEach((sequence, s) => {
    tokens.set(sequence, offsets[s]);
    if (prefixOf[s] >= 0) for (let t = offsets[s]; t < offsets[s + 1]; t++) actionIndex.push(t);
  });
  const normalizer = { tokens: actionIndex.length, sequences: sequences.length };
  const { logps } = await learner.forward({ tokens, offsets, prefixOf: Int32Array.from(prefixOf), actionIndex: Int32Array.from(actionIndex), columns: {}, normalizer }, ['logps'], { signal, precision: 'fp32' });
  let next = 0;
  return questions.map(({ continuations }) => continuations.map(({ length }) => logps!.subarray(next, (next += length)).reduce((sum, logp) => sum + logp, 0)));
}
