import { EspalierError, type Learner } from '@espalier/spec';

/**
 * Log-prob (nats, temperature 1) of each token of each sequence given those before it. Entry 0 is NaN: nothing precedes it. Products are in fp32 whatever the
 * engine's precision: in bf16 a log-prob is off by 0.01 in the mean and by 0.1 at times, and here the number itself is what was asked for.
 * @throws EspalierError `bad_data` for an empty sequence, or one that the model cannot take
 */
export async function sequenceLogps(learner: Learner, sequences: readonly Int32Array[], signal?: AbortSignal): Promise<Float32Array[]> {
  if (sequences.length === 0) return [];
  const offsets = new Int32Array(sequences.length + 1);
  sequences.forEach((sequence, s) => {
    if (sequence.length === 0) throw new EspalierError('bad_data', `sequence ${s} to be scored is empty`);
    offsets[s + 1] = offsets[s] + sequence.length;
  });
  const total = offsets[sequences.length];
  const tokens = new Int32Array(total);
  const actionIndex: number[] = [];
  sequences.forEach((sequence, s) => {
    tokens.set(sequence, offsets[s]);
    for (let t = offsets[s] + 1; t < offsets[s + 1]; t++) actionIndex.push(t);
  });
  const normalizer = { tokens: actionIndex.length, sequences: sequences.length };
  const { logps } = await learner.forward({ tokens, offsets, actionIndex: Int32Array.from(actionIndex), columns: {}, normalizer }, ['logps'], { signal, precision: 'fp32' });
  let next = 0;
  return sequences.map((sequence) => Float32Array.from(sequence, (_, t) => (t === 0 ? NaN : logps![next++])));
}
