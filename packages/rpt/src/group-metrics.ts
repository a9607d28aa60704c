import type { Metrics, ScoredTrajectory } from '@espalier/spec';
import { rewardTotal } from '@espalier/trainer';

const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
const std = (values: readonly number[]) => Math.sqrt(values.reduce((sum, value) => sum + (value - mean(values)) ** 2, 0) / Math.max(values.length - 1, 1));

/** Rewards and completions of scored groups, under TRL's names. What nothing was measured of is left out. */
export function groupMetrics(groups: readonly (readonly ScoredTrajectory[])[], totals: readonly (readonly (number | null)[])[]): Metrics {
  const trajectories = groups.flat();
  const known = totals.flat().filter((total) => total !== null);
  const lengths = trajectories.map(({ trainable }) => trainable.reduce((a, b) => a + b, 0));
  const metrics: Metrics = {
    'completions/mean_length': mean(lengths),
    'completions/clipped_ratio': mean(trajectories.map(({ finishReason }) => Number(finishReason === 'length'))),
    frac_reward_zero_std: mean(totals.map((group) => Number(new Set(group.filter((total) => total !== null)).size < 2))),
  };
  if (known.length > 0) Object.assign(metrics, { reward: mean(known), reward_std: std(known) });
  for (const name of new Set(trajectories.flatMap(({ rewards }) => Object.keys(rewards)))) {
    const values = trajectories.flatMap(({ rewards }) => (rewards[name] === null || rewards[name] === undefined ? [] : [rewardTotal(rewards[name])]));
    if (values.length > 0) Object.assign(metrics, { [`rewards/${name}/mean`]: mean(values), [`rewards/${name}/std`]: std(values) });
  }
  return metrics;
}
