import type { Engine } from '@espalier/engine';
import type { TokenBatch } from '@espalier/spec';

/** A sequence and the tokens of it whose scores are wanted, ascending. */
export interface ScoredSequence {
  tokens: Int32Array;
  at: Int32Array;
  /** Sequences that follow one another under one name are expected to begin alike: what they share is computed once. */
  group?: string;
}

/**
 * Scores of the scalar head at the asked-for tokens, in fp32, one list a sequence. Sequences are computed together and packed, nothing is padded.
 * @throws EspalierError `unsupported` when the engine has no scalar head, `aborted`
 */
export async function scoresAt(engine: Engine, sequences: readonly ScoredSequence[], signal?: AbortSignal): Promise<number[][]> {
  if (sequences.every(({ at }) => at.length === 0)) return sequences.map(() => []);
  const scores = (await engine.learner.forward(packScored(sequences), ['scores'], { signal, precision: 'fp32' })).scores!;
  let next = 0;
  return sequences.map(({ at }) => Array.from(at, () => scores[next++]));
}

function packScored(sequences: readonly ScoredSequence[]): TokenBatch {
  const tokens: number[] = [];
  const offsets = [0];
  const prefixOf: number[] = [];
  const actionIndex: number[] = [];
  const push = (part: Int32Array, prefix: number): void => {
    for (const token of part) tokens.push(token);
    offsets.push(tokens.length);
    prefixOf.push(prefix);
  };
  const asked = sequences.filter(({ at }) => at.length > 0);
  for (let start = 0, end = 0; start < asked.length; start = end) {
    end = start + 1;
    while (asked[start].group !== undefined && end < asked.length && asked[end].group === asked[start].group) end++;
    const members = asked.slice(start, end);
    const shared = members.length > 1 ? sharedLength(members) : 0;
    const prefix = shared > 0 ? prefixOf.length : -1;
    if (shared > 0) push(members[0].tokens.subarray(0, shared), -1);
    for (const { tokens: sequence, at } of members) {
      for (const t of at) actionIndex.push(tokens.length + t - shared);
      push(sequence.subarray(shared), prefix);
    }
  }
  return { tokens: Int32Array.from(tokens), offsets: Int32Array.from(offsets), prefixOf: Int32Array.from(prefixOf), actionIndex: Int32Array.from(actionIndex), columns: {}, normalizer: { tokens: actionIndex.length, sequences: asked.length } };
}

/** Tokens that all begin with, up to the first whose score is asked for. */
function sharedLength(members: readonly ScoredSequence[]): number {
  const [first] = members;
  let most = Math.min(...members.map(({ at }) => at[0]));
  for (const { tokens } of members) {
    let same = 0;
    while (same < most && tokens[same] === first.tokens[same]) same++;
    most = same;
  }
  return most;
}
