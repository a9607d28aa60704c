import { EspalierError } from '@espalier/spec';

/**
 * Log-probs of the options as probabilities that add up to 1 (a softmax over the options alone). Null when they cannot be read: one that is not finite
 * (nor −∞), or all −∞, or together less than `minMass`, so that the model would have answered something else.
 */
export function optionProbabilities(logps: readonly number[], minMass = 0): number[] | null {
  if (logps.length === 0 || logps.some((logp) => Number.isNaN(logp) || logp === Infinity)) return null;
  const largest = Math.max(...logps);
  if (largest === -Infinity) return null;
  const weights = logps.map((logp) => Math.exp(logp - largest));
  const sum = weights.reduce((a, b) => a + b, 0);
  if (Math.exp(largest) * sum < minMass) return null;
  return weights.map((weight) => weight / sum);
}

/** The range that a label is held in, as `[low, high]`. */
export type Clamp = readonly [low: number, high: number];

/** The range of Constitutional AI (2212.08073, §4.1) for labels after chain-of-thought reasoning, which are close to 0 or 1. */
export const chainOfThoughtClamp: Clamp = [0.4, 0.6];

/**
 * A label held in a range.
 * @throws EspalierError `bad_config` for a range that is not within 0 and 1, or is empty
 * @example
 * clampLabel(0.97, [0.4, 0.6]); // 0.6
 */
export function clampLabel(probability: number, clamp: Clamp | null | undefined): number {
  if (!clamp) return probability;
  checkClamp(clamp);
  return Math.min(Math.max(probability, clamp[0]), clamp[1]);
}

export function checkClamp([low, high]: Clamp): void {
  if (!(low >= 0 && low <= high && high <= 1)) throw new EspalierError('bad_config', `\`label_clamp\` is [${low}, ${high}]`, { fix: 'two numbers within 0 and 1, the lower one first, such as [0.4, 0.6]' });
}

/**
 * Expected score of a distribution over the scores `low, low + 1, …` (RLAIF, 2309.00267, §2.2: Σ i·P(i) over 1 to 10).
 * @param probabilities one a score, ascending
 */
export function expectedScore(probabilities: readonly number[], low = 1): number {
  return probabilities.reduce((sum, p, i) => sum + p * (low + i), 0);
}

/** A score on `low … high` as a number on −1 … 1. */
export function rescaleScore(score: number, low = 1, high = 10): number {
  return (2 * (score - low)) / (high - low) - 1;
}
