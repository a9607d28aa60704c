/** Tokens are bytes. */
export const vocabularySize = 256;

/** A model of which byte follows which. */
export interface Bigrams {
  /** Log-probs (nats) of every byte after this one, with the logits divided by the temperature. [256] */
  logps(previous: number, temperature: number): Float64Array;
}

/** Counts what follows what in a text; `smoothing` is added to every count, so that nothing is impossible. */
export function bigramsOf(text: string, smoothing: number): Bigrams {
  const bytes = Buffer.from(text);
  const counts = new Float64Array(vocabularySize * vocabularySize).fill(smoothing);
  for (let i = 1; i < bytes.length; i++) counts[bytes[i - 1] * vocabularySize + bytes[i]]++;
  return {
    logps(previous, temperature) {
      const logits = counts.subarray(previous * vocabularySize, (previous + 1) * vocabularySize).map((count) => Math.log(count) / temperature);
      const largest = Math.max(...logits);
      const total = largest + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - largest), 0));
      return logits.map((logit) => logit - total);
    },
  };
}
