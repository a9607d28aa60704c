import { defineAlgorithm, EspalierError, throwIfAborted, type Algorithm } from '@espalier/spec';
import { rankAdvantages, totalReward } from './advantages.js';
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
      const scored = rewards.flat().filter((reward) => reward !== null);
      return {
        batch: packTrajectories(groups.flat(), advantages.flat()),
        advantages,
        metrics: {
          ...(scored.length > 0 ? { reward: scored.reduce((sum, reward) => sum + reward, 0) / scored.length } : {}),
          frac_reward_zero_std: advantages.filter((group) => group.every((advantage) => !advantage)).length / Math.max(groups.length, 1),
        },
      };
    },
  });
}
