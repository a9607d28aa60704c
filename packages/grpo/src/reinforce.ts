import { reinforcePlusPlusAdvantages } from '@espalier/objectives';
import type { Algorithm, Metrics, ScoredTrajectory } from '@espalier/spec';
import { zeroStdShare } from './experience';
import { policyObjective } from './objective';
import { policyAlgorithm } from './policy-algorithm';
import { withRaisableBeta } from './raise-beta';
import { parseReinforcePlusPlusConfig, type ReinforcePlusPlusConfigInput } from './reinforce-config';

/**
 * REINFORCE++ as an {@link Algorithm}: no critic; returns with the KL from the reference in each token's reward, whitened over all tokens of a generation;
 * PPO's clipped loss, averaged over tokens. With `baseline` the mean reward of a group comes off first (REINFORCE++-baseline).
 *
 * @param config see `reinforcePlusPlusConfig`
 * @throws EspalierError `bad_config`
 * Source: Hu et al. (2501.03262).
 *
 * @example
 * const algorithm = reinforcePlusPlus({ baseline: true, numGenerations: 8, perDeviceTrainBatchSize: 32 });
 */
export function reinforcePlusPlus(config: ReinforcePlusPlusConfigInput = {}): Algorithm {
  const parsed = parseReinforcePlusPlusConfig(config);
  const { gamma, baseline, epsilon, epsilonHigh, delta, entropyCoef } = parsed;
  const name = baseline ? 'reinforce_plus_plus_baseline' : 'reinforce_plus_plus';
  const algorithm = policyAlgorithm({
    name,
    config: parsed,
    objective: { ...policyObjective({ lossType: 'dapo', epsilon, epsilonHigh, delta, entropyCoef }, undefined, parsed), name },
    kl: { inReward: parsed.klEstimator },
    estimate({ groups, rewards: { groupSizes }, totals, actions, kl }) {
      const rows = new Map<ScoredTrajectory, number[]>(groups.flat().map((trajectory) => [trajectory, []]));
      actions.forEach(({ trajectory }, a) => rows.get(trajectory)!.push(kl?.[a] ?? 0));
      const advantages = reinforcePlusPlusAdvantages({ rewards: totals, kl: [...rows.values()] }, { beta: parsed.beta, gamma, baseline, groupSizes });
      const metrics: Metrics = {};
      if (parsed.numGenerations > 1) metrics.frac_reward_zero_std = zeroStdShare(totals, groupSizes);
      return { advantages: new Map([...rows.keys()].map((trajectory, i) => [trajectory, advantages[i]])), metrics };
    },
  });
  return withRaisableBeta(algorithm, parsed);
}
