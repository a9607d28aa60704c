import { groupAdvantages } from '@espalier/objectives';
import { EspalierError, type Algorithm } from '@espalier/spec';
import type { Json, StatefulAlgorithm } from '@espalier/trainer';
import type { AdvantageFunction } from './advantage-function';
import { parseGRPOConfig, type GRPOConfig, type GRPOConfigInput } from './config';
import { EntropyController, type EntropyControlState } from './entropy-control';
import { policyObjective } from './objective';
import { policyAlgorithm } from './policy-algorithm';
import { withRaisableBeta } from './raise-beta';

/**
 * Group-relative policy optimisation as an {@link Algorithm}: the advantage of a completion is its reward relative to the others of its prompt.
 *
 * One generation becomes one batch: each group's prompt is stored and computed once. Log-probs of the old policy are recomputed by the learner
 * when the weights change while the generation is trained on (or as `oldLogps` says); those of the
 * reference when `beta` is not 0. A reward's `perToken` part is not used: GRPO credits a completion as a whole.
 *
 * @param config TRL's `GRPOConfig` in camelCase; see `grpoConfig`
 * @param options.advantages a function in place of the group's standard score; it sees groups and rewards, and may tell tokens apart
 * @throws EspalierError `bad_config`
 *
 * @example
 * const algorithm = grpo({ numGenerations: 8, perDeviceTrainBatchSize: 32, lossType: 'dapo', epsilonHigh: 0.28 });
 * const { batch, metrics } = await algorithm.experience(groups, { step, learner, rewardWeights: {}, maxCompletionLength: 512, temperature: 1 });
 */
export function grpo(config: GRPOConfigInput = {}, options: { advantages?: AdvantageFunction } = {}): Algorithm | StatefulAlgorithm {
  const parsed = parseGRPOConfig(config);
  const controller = parsed.useAdaptiveEntropy ? new EntropyController(parsed) : undefined;
  const algorithm = policyAlgorithm({
    name: 'grpo',
    config: parsed,
    objective: policyObjective(parsed, controller, parsed),
    kl: 'loss',
    needsSamplingLogps: parsed.offPolicyMaskThreshold !== undefined,
    advantages: options.advantages,
    estimate({ groups, rewards }) {
      const { advantages, fracRewardZeroStd } = groupAdvantages(
        { rewards: rewards.table },
        { groupSizes: rewards.groupSizes, rewardWeights: rewards.weights, scaleRewards: parsed.scaleRewards, multiObjectiveAggregation: parsed.multiObjectiveAggregation },
      );
      return { advantages: new Map(groups.flat().map((trajectory, i) => [trajectory, advantages[i]])), metrics: { frac_reward_zero_std: fracRewardZeroStd } };
    },
  });
  if (controller) {
    return withRaisableBeta({ ...withVespoCheck(algorithm, parsed), state: () => ({ ...controller.state() }), restore: (state: Json) => controller.restore(state as unknown as EntropyControlState) }, parsed);
  }
  return withRaisableBeta(withVespoCheck(algorithm, parsed), parsed);
}

/** VESPO's weights are of sequences already: a correction that only the sampler asks for is found out here. */
function withVespoCheck(algorithm: Algorithm, parsed: GRPOConfig): Algorithm {
  if (parsed.lossType !== 'vespo' || parsed.importanceSamplingMode.startsWith('token')) return algorithm;
  return {
    ...algorithm,
    async experience(groups, context) {
      const experience = await algorithm.experience(groups, context);
      if (!experience.batch.columns.importanceSamplingRatio && !experience.batch.columns.corrected) return experience;
      throw new EspalierError('bad_config', `\`loss_type\` vespo makes its own weights of sequences and takes corrections by token, and \`importance_sampling_mode\` is ${parsed.importanceSamplingMode}`, { fix: 'token_truncate or token_mask' });
    },
  };
}
