/** The likeliest tokens at one position, likeliest first. */
export interface TopLogps {
  tokens: Int32Array; // [k]
  logps: Float32Array; // [k], nats
}

/** log Σ exp(logits / temperature), less max(logits) / temperature, in float64; and the maximum. */
export function logNormaliser(logits: Float32Array, temperature: number): { max: number; logSum: number } {
  let max = -Infinity;
  for (const z of logits) max = Math.max(max, z);
  let sum = 0;
  for (const z of logits) sum += Math.exp((z - max) / temperature);
  return { max, logSum: Math.log(sum) };
}

/** The `k` likeliest tokens of `logits [V]` with their log-probs at the temperature, before any filter. Among equals the lower id comes first. */
export function topLogps(logits: Float32Array, k: number, temperature: number): TopLogps {
  const count = Math.min(k, logits.length);
  const best: number[] = []; // ids, likeliest first
  for (let id = 0; id < logits.length; id++) {
    if (best.length === count && !(logits[id] > logits[best[count - 1]])) continue;
    let at = best.length;
    while (at > 0 && logits[id] > logits[best[at - 1]]) at--;
    best.splice(at, 0, id);
    if (best.length > count) best.pop();
  }
  const { max, logSum } = logNormaliser(logits, temperature);
  return { tokens: Int32Array.from(best), logps: Float32Array.from(best, (id) => (logits[id] - max) / temperature - logSum) };
}
