import type { Engine } from '@espalier/engine';
import type { TokenBatch } from '@espalier/spec';

/** A sequence and the tokens of it whose scores are wanted, ascending. */
export interface ScoredSequence {
  tokens: Int32Array;
  at: Int32Array;
}

/**
 * Scores of the scalar head at the asked-for tokens, in fp32, one list a sequence. Sequences are computed together and packed, nothing is padded.
 * @throws EspalierError `unsupported` when the engine has no scalar head, `aborted`
 */
export async function scoresAt(engine: Engine, sequences: readonly ScoredSequence[], signal?: AbortSignal): Promise<number[][]> {
  if (sequences.every(({ at }) => at.length === 0)) return sequences.map(() => []);
  const offsets = new Int32Array(sequences.length + 1);
  sequences.forEach(({ tokens }, i) => (offsets[i + 1] = offsets[i] + tokens.length));
  const tokens = new Int32Array(offsets[sequences.length]);
  sequences.forEach((sequence, i) => tokens.set(sequence.tokens, offsets[i]));
  const actionIndex = Int32Array.from(sequences.flatMap(({ at }, i) => Array.from(at, (t) => offsets[i] + t)));
  const batch: TokenBatch = { tokens, offsets, actionIndex, columns: {}, normalizer: { tokens: actionIndex.length, sequences: sequences.length } };
  const scores = (await engine.learner.forward(batch, ['scores'], { signal, precision: 'fp32' })).scores!;
  let next = 0;
  return sequences.map(({ at }) => Array.from(at, () => scores[next++]));
}
