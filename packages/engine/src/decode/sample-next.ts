import { add, drawTokens, sampleTokens, tensor2d, type SampleRow, type Tensor, type TokenDraw } from '@espalier/tensor';
import type { Sample } from './decoding';
import { logNormaliser, topLogps, type TopLogps } from './top-logps';

/** A logit that no temperature brings back. */
const never = -1e30;

/** How each sample's token is drawn that comes `ahead` tokens after the next. */
const rowsFor = (samples: readonly Sample[], ahead: number): SampleRow[] =>
  samples.map(({ group: { request }, index, tokens }) => ({
    seed: request.seed,
    sample: index,
    position: request.prompt.length + tokens.length + ahead,
    temperature: request.temperature,
    topK: request.topK,
    topP: request.topP,
    minP: request.minP,
    repetitionPenalty: request.repetitionPenalty,
    history: request.repetitionPenalty === 1 ? undefined : Int32Array.from([...request.prompt, ...tokens]),
  }));

const isTooShort = ({ group: { request }, tokens }: Sample) => tokens.length < request.minNewTokens && request.stopTokens.size > 0;

/** Whether nobody has to look at a sample's tokens, or at its logits, before more are drawn. */
export const drawsBlindly = (sample: Sample): boolean => sample.group.request.topLogps === 0 && sample.group.request.repetitionPenalty === 1 && !isTooShort(sample);

/** What {@link sampleNext} draws for samples that are all drawn blindly, `ahead` tokens after the next. */
export const drawNext = (logits: Tensor, samples: readonly Sample[], ahead: number): TokenDraw => drawTokens(logits, rowsFor(samples, ahead));

/**
 * Draws the next token of every sample from `logits [B, V]`. The draw is determined by (seed, sample index, position); the log-probs are those of the
 * distribution before any filter, temperature applied (temperature 0: as at 1). `tops[b]`: the likeliest tokens, for samples that ask for them.
 */
export function sampleNext(logits: Tensor, samples: readonly Sample[]): { tokens: Int32Array; logps: Float32Array; tops: readonly (TopLogps | null)[] | null } {
  const [batch, vocabSize] = logits.shape;
  const asked = samples.some(({ group: { request } }) => request.topLogps > 0);
  const values = asked ? (logits.dataSync() as Float32Array) : null;
  const tops = values && samples.map(({ group: { request } }, b) => (request.topLogps > 0 ? topLogps(values.subarray(b * vocabSize, (b + 1) * vocabSize), request.topLogps, request.temperature || 1) : null));
  const rows = rowsFor(samples, 0);
  const tooShort = samples.map(isTooShort);
  if (!tooShort.includes(true)) return { ...sampleTokens(logits, rows), tops };

  // Samples that may not end yet: their stop tokens are out of reach, while their log-probs stay those of all tokens.
  const ban = new Float32Array(batch * vocabSize);
  samples.forEach(({ group: { request } }, b) => {
    if (tooShort[b]) for (const token of request.stopTokens) if (token < vocabSize) ban[b * vocabSize + token] = never;
  });
  const { tokens, logps } = sampleTokens(add(logits, tensor2d(ban, [batch, vocabSize])), rows);
  const known = values ?? (logits.dataSync() as Float32Array);
  const whole = Float32Array.from(logps, (logp, b) => (tooShort[b] ? logProb(known.subarray(b * vocabSize, (b + 1) * vocabSize), tokens[b], rows[b].temperature || 1) : logp));
  return { tokens, logps: whole, tops };
}

/** log softmax(logits / temperature)[token], in float64. */
function logProb(logits: Float32Array, token: number, temperature: number): number {
  const { max, logSum } = logNormaliser(logits, temperature);
  return (logits[token] - max) / temperature - logSum;
}
