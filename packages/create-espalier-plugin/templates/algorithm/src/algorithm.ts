import { defineAlgorithm, EspalierError, throwIfAborted, type Algorithm, type Metrics, type ScoredTrajectory } from '@espalier/spec';
import { meanOf, rankAdvantages, rewardNumber, totalReward } from './advantages.js';
import { packTrajectories } from './batch.js';
import { policyGradient } from './policy-gradient.js';

export interface __PascalName__Options {
  /** Of the spread of advantages: they lie from −scale to scale. Default 1. */
  scale?: number;
}

/**
 * Policy gradient by rank: the advantage of a completion is its place among the completions of its prompt, from −scale for the worst to scale for the best,
 * whatever the sizes of the rewards. What nothing scored is not trained on. Fields that it does not know are those of other algorithms, and are left alone.
 *
 * @throws EspalierError `bad_config`
 * @example
 * const { batch, metrics } = await __camelName__Algorithm().experience(groups, context);
 */
export function __camelName__Algorithm(options: __PascalName__Options = {}): Algorithm {
  const scale = Number(options.scale ?? 1);
  if (!(scale > 0 && scale < Infinity)) throw new EspalierError('bad_config', `__name__: \`scale\` is ${JSON.stringify(options.scale)}`, { fix: 'a number above 0' });
  return defineAlgorithm({
    name: '__name__',
    objective: policyGradient,
    numIterations: 1, // the gradient is that of the policy which sampled: one step on each experience
    needsReference: false,
    async experience(groups, { rewardWeights, signal }) {
      throwIfAborted(signal);
      const rewards = groups.map((group) => group.map((trajectory) => totalReward(trajectory.rewards, rewardWeights)));
      const advantages = rewards.map((group) => rankAdvantages(group, scale));
      const flat = advantages.filter((group) => group.every((advantage) => !advantage)).length; // groups from which nothing is learnt
      return {
        batch: packTrajectories(groups.flat(), advantages.flat()),
        advantages,
        metrics: { ...rewardMetrics(groups.flat(), rewards.flat()), frac_reward_zero_std: flat / Math.max(groups.length, 1) },
      };
    },
  });
}

/** Means by the names that other algorithms log them under; what nothing gave is left out. */
function rewardMetrics(trajectories: readonly ScoredTrajectory[], totals: readonly (number | null)[]): Metrics {
  const metrics: Metrics = {};
  const set = (name: string, mean: number | null) => {
    if (mean !== null) metrics[name] = mean;
  };
  set('reward', meanOf(totals));
  for (const name of new Set(trajectories.flatMap(({ rewards }) => Object.keys(rewards)))) set(`rewards/${name}/mean`, meanOf(trajectories.map(({ rewards }) => rewardNumber(rewards[name] ?? null))));
  return metrics;
}
