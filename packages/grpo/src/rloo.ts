import { leaveOneOutAdvantages } from '@espalier/objectives';
import type { Algorithm, ScoredTrajectory } from '@espalier/spec';
import { zeroStdShare } from './experience';
import { policyObjective } from './objective';
import { policyAlgorithm } from './policy-algorithm';
import { withRaisableBeta } from './raise-beta';
import { parseRLOOConfig, type RLOOConfigInput } from './rloo-config';

/**
 * REINFORCE leave-one-out as an {@link Algorithm}: the baseline of a completion is the mean reward of the others of its prompt; the KL from the reference,
 * summed over the completion (k1), is taken off the reward; one ratio a completion.
 *
 * @param config TRL's `RLOOConfig` in camelCase; see `rlooConfig`
 * @throws EspalierError `bad_config`
 * Source: Ahmadian et al. (2402.14740); TRL 1.16 `RLOOTrainer`.
 *
 * @example
 * const algorithm = rloo({ numGenerations: 4, perDeviceTrainBatchSize: 16, beta: 0.05 });
 */
export function rloo(config: RLOOConfigInput = {}): Algorithm {
  const parsed = parseRLOOConfig(config);
  const { normalizeAdvantages, rewardClipRange } = parsed;
  const algorithm = policyAlgorithm({
    name: 'rloo',
    config: parsed,
    objective: { ...policyObjective({ lossType: 'rloo', epsilon: parsed.epsilon, epsilonHigh: parsed.epsilonHigh }, undefined, parsed), name: 'rloo' },
    kl: { inReward: 'k1' },
    estimate({ groups, rewards: { groupSizes }, totals, actions, kl }) {
      const perTrajectory = new Map<ScoredTrajectory, number>();
      actions.forEach(({ trajectory }, a) => perTrajectory.set(trajectory, (perTrajectory.get(trajectory) ?? 0) + (kl?.[a] ?? 0)));
      const penalty = groups.flat().map((trajectory) => perTrajectory.get(trajectory) ?? 0);
      const { beta } = parsed; // an alarm may have raised it
      const advantages = leaveOneOutAdvantages({ rewards: totals, kl: penalty }, { groupSizes, beta, normalizeAdvantages, rewardClipRange });
      const shaped = totals.map((total, i) => (total === null ? null : (rewardClipRange ? Math.min(Math.max(total, rewardClipRange[0]), rewardClipRange[1]) : total) - beta * penalty[i]));
      return { advantages: new Map(groups.flat().map((trajectory, i) => [trajectory, advantages[i]])), metrics: { frac_reward_zero_std: zeroStdShare(shaped, groupSizes) } };
    },
  });
  return withRaisableBeta(algorithm, parsed);
}
