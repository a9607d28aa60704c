import { importanceCorrection, samplerMismatch, type ImportanceCorrectionOptions, type Rows } from '@espalier/objectives';
import type { ExperienceContext, Metrics, MetricSums, ScoredTrajectory } from '@espalier/spec';
import type { OffPolicyConfig } from './policy-config';

/** Optimiser steps by which the weights that sampled a trajectory are behind the learner's: of its oldest part. */
export function staleness(trajectory: ScoredTrajectory, context: ExperienceContext): number {
  const current = context.sampler?.version;
  if (current === undefined || context.sampler?.sharesWeights || trajectory.versions.length === 0) return 0;
  return Math.max(0, current - Math.min(...trajectory.versions.map(({ version }) => version)));
}

/** Which trajectories are too far behind, and how far they all are. */
export function findStale(trajectories: readonly ScoredTrajectory[], context: ExperienceContext, config: OffPolicyConfig): { rejected: Set<ScoredTrajectory>; metrics: Metrics } {
  const rejected = new Set<ScoredTrajectory>();
  if (!context.sampler || context.sampler.sharesWeights || trajectories.length === 0) return { rejected, metrics: {} };
  const behind = trajectories.map((trajectory) => staleness(trajectory, context));
  behind.forEach((steps, i) => void (steps > config.maxStaleness && config.staleCompletions === 'reject' && rejected.add(trajectories[i])));
  const metrics: Metrics = { 'sampling/staleness/mean': behind.reduce((a, b) => a + b, 0) / behind.length, 'sampling/staleness/max': Math.max(...behind) };
  return { rejected, metrics: { ...metrics, 'sampling/stale_rejected': rejected.size } };
}

/** Whether this generation's mismatch with its sampler is corrected. */
export function corrects(context: ExperienceContext, config: OffPolicyConfig): boolean {
  if (config.importanceSamplingCorrection !== 'auto') return config.importanceSamplingCorrection;
  return context.sampler !== undefined && !context.sampler.sharesWeights && config.oldLogps !== 'sampler';
}

/** The bounds and the mode, as the function takes them. */
export function correctionOptions(config: OffPolicyConfig): ImportanceCorrectionOptions {
  return { mode: config.importanceSamplingMode, clipMax: config.importanceSamplingClipMax, clipMin: config.importanceSamplingClipMin };
}

/** The factor of each action, with TRL's metrics of it (after the bounds) and what the bounds did. */
export function correct(oldLogps: ArrayLike<number>, samplerLogps: Float32Array, rows: Rows, config: OffPolicyConfig): { column: Float32Array; metrics: Metrics } {
  const { ratio, weights, clippedShare, effectiveSampleSize } = importanceCorrection({ oldLogps, samplerLogps, rows }, correctionOptions(config));
  let [low, high, sum] = [Infinity, -Infinity, 0];
  for (const w of weights) {
    low = Math.min(low, w);
    high = Math.max(high, w);
    sum += w;
  }
  const name = 'sampling/importance_sampling_ratio';
  return {
    column: Float32Array.from(ratio),
    metrics: {
      ...(weights.length > 0 ? { [`${name}/min`]: low, [`${name}/mean`]: sum / weights.length, [`${name}/max`]: high } : {}),
      'sampling/clipped_ratio': clippedShare,
      'sampling/effective_sample_size': effectiveSampleSize,
    },
  };
}

/** How far π_old is from the sampler, as sums: TRL's `sampling_logp_difference`, KL(μ ‖ π_old) a token, and the effective sample size of uncorrected tokens. */
export function mismatchSums(oldLogps: ArrayLike<number>, samplerLogps: ArrayLike<number>): MetricSums {
  const { differences, kl, effectiveSampleSize, count } = samplerMismatch(oldLogps, samplerLogps);
  if (count === 0) return {};
  return {
    'sampling/sampling_logp_difference/mean': { sum: differences.sum, weight: count },
    'sampling/sampling_logp_difference/max': { sum: differences.max, weight: 1 }, // not a sum: over micro-batches it is averaged
    'sampling/kl': { sum: kl, weight: count },
    'sampling/effective_sample_size': { sum: effectiveSampleSize * count, weight: count },
  };
}
