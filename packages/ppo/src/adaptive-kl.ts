/**
 * Steers the weight of the divergence so that a completion's mean divergence stays near a target: β ← β · (1 + clip(KL / target − 1, ±0.2) · n / horizon) after
 * `n` completions (Ziegler et al. 2019, 1909.08593, §2.2). Without a target the weight is fixed.
 *
 * @example
 * adaptKlCoef(0.1, { kl: 9, completions: 64 }, { target: 6, horizon: 10_000 }); // 0.1 · (1 + 0.2 · 64 / 10000)
 */
export function adaptKlCoef(coefficient: number, seen: { kl: number; completions: number }, options: { target: number; horizon: number }): number {
  const error = Math.min(Math.max(seen.kl / options.target - 1, -0.2), 0.2);
  return coefficient * (1 + (error * seen.completions) / options.horizon);
}
