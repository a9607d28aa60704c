import { clip, constant, div, exp, min, mul, neg, rowMean, rowSum, stopGradient, sub, sum, type Normalizer, type Rows, type Vector, type VectorLike } from '@espalier/objectives';
import type { MetricSums } from '@espalier/spec';

export interface RlooTerms {
  logps: Vector; // [A]
  /** null: the current ones, as constants. [A] */
  oldLogps: VectorLike | null;
  /** The same for all tokens of a completion. [A] */
  advantages: VectorLike;
  /** Correction for the mismatch between sampler and trainer, the same for all tokens of a completion; null: none. [A] */
  importanceSamplingRatio: VectorLike | null;
  rows: Rows;
  normalizer: Normalizer;
}

/**
 * RLOO's loss on the tape: with ρ = exp(Σ_t log π_θ − log π_old) of a whole completion, −min(ρ·A, clip(ρ, 1 − ε, 1 + ε_high)·A), averaged over completions.
 * The KL penalty is part of the reward (`leaveOneOutAdvantages`), not of the loss.
 *
 * A completion without a trained token (masked, or empty) has no derivative and adds nothing. TRL adds the constant −A for it.
 * Source: Ahmadian et al. (2402.14740); TRL 1.16 `RLOOTrainer._compute_loss`.
 */
export function rlooTerms(terms: RlooTerms, options: { epsilon: number; epsilonHigh: number }): { loss: Vector; metrics: MetricSums } {
  const { logps, rows, normalizer } = terms;
  const [low, high] = [1 - options.epsilon, 1 + options.epsilonHigh];
  const oldLogps = terms.oldLogps === null ? stopGradient(logps) : constant(terms.oldLogps);
  const advantages = rowMean(terms.advantages, rows); // [R]; an empty row has 0
  const ratio = exp(rowSum(sub(logps, oldLogps), rows)); // [R]
  let perSequence = neg(min(mul(ratio, advantages), mul(clip(ratio, low, high), advantages)));
  if (terms.importanceSamplingRatio !== null) perSequence = mul(perSequence, rowMean(terms.importanceSamplingRatio, rows));
  const sequences = Math.max(normalizer.sequences, 1);
  return { loss: div(sum(perSequence), sequences), metrics: clipMetrics(ratio, advantages, rows, low, high) };
}

/** TRL's `clip_ratio/*`, over completions. The least and the largest share are not sums: over micro-batches they are averaged, as in TRL. */
function clipMetrics(ratio: Vector, advantages: Vector, rows: Rows, low: number, high: number): MetricSums {
  const filled = Array.from({ length: rows.count }, (_, r) => r).filter((r) => rows.offsets[r + 1] > rows.offsets[r]);
  const isLow = filled.map((r) => Number(ratio.values[r] < low && advantages.values[r] < 0));
  const isHigh = filled.map((r) => Number(ratio.values[r] > high && advantages.values[r] > 0));
  const share = (marks: readonly number[]) => ({ sum: marks.reduce((a, b) => a + b, 0), weight: Math.max(marks.length, 1) });
  const metrics: MetricSums = { 'clip_ratio/low_mean': share(isLow), 'clip_ratio/high_mean': share(isHigh), 'clip_ratio/region_mean': share(isLow.map((v, i) => Math.max(v, isHigh[i]))) };
  if (filled.length > 0) {
    metrics['clip_ratio/low_min'] = { sum: Math.min(...isLow), weight: 1 };
    metrics['clip_ratio/high_max'] = { sum: Math.max(...isHigh), weight: 1 };
  }
  return metrics;
}

