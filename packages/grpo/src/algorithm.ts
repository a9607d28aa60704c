import { defineAlgorithm, EspalierError, type Algorithm } from '@espalier/spec';
import { roundGeometry } from '@espalier/trainer';
import { parseGRPOConfig, type GRPOConfigInput } from './config';
import { isTruncated, packGroups, samplerLogps, scoreGroups } from './experience';
import { policyObjective } from './objective';

/**
 * Group-relative policy optimisation as an {@link Algorithm}: the advantage of a completion is its reward relative to the others of its prompt.
 *
 * One generation becomes one batch: each group's prompt is stored and computed once. Log-probs of the old policy are recomputed by the learner
 * when the weights change while the generation is trained on (or as `oldLogps` says); those of the reference when `beta` is not 0. A reward's
 * `perToken` part is not used: GRPO credits a completion as a whole.
 *
 * @param config TRL's `GRPOConfig` in camelCase; see `grpoConfig`
 * @throws EspalierError `bad_config`
 *
 * @example
 * const algorithm = grpo({ numGenerations: 8, perDeviceTrainBatchSize: 32, lossType: 'dapo', epsilonHigh: 0.28 });
 * const { batch, metrics } = await algorithm.experience(groups, { step, learner, rewardWeights: {}, maxCompletionLength: 512, temperature: 1 });
 */
export function grpo(config: GRPOConfigInput = {}): Algorithm {
  const parsed = parseGRPOConfig(config);
  const offPolicy = roundGeometry(parsed, parsed.numIterations).updates > 1; // the weights change while one generation is trained on
  const oldLogps = parsed.oldLogps === 'auto' ? (offPolicy ? 'recompute' : 'none') : parsed.oldLogps;
  return defineAlgorithm({
    name: 'grpo',
    objective: policyObjective(parsed),
    numIterations: parsed.numIterations,
    needsReference: parsed.beta !== 0,

    async experience(groups, context) {
      const { advantages, metrics } = scoreGroups(groups, context.rewardWeights, parsed);
      const perTrajectory = groups.map((group) => group.map((trajectory) => advantages.get(trajectory) ?? null));
      const { batch, actions } = packGroups(groups, (trajectory) => parsed.maskTruncatedCompletions && isTruncated(trajectory));
      batch.columns.advantages = Float32Array.from(actions, ({ trajectory }) => advantages.get(trajectory)!);
      if (actions.length === 0) return { batch, metrics, advantages: perTrajectory };

      const { signal, temperature } = context;
      const sampled = samplerLogps(actions);
      if (oldLogps === 'sampler') {
        if (!sampled) throw new EspalierError('unsupported', '`old_logps` sampler needs the log-probs of the sampler, and this rollout engine gives none', { fix: '`old_logps` recompute' });
        batch.columns.oldLogps = sampled;
      } else if (oldLogps === 'recompute') {
        const outputs = await context.learner.forward(batch, ['logps'], { signal, temperature });
        batch.columns.oldLogps = outputs.logps!;
        if (sampled) Object.assign(metrics, mismatch(outputs.logps!, sampled));
      }
      if (parsed.offPolicyMaskThreshold !== undefined && sampled) batch.columns.samplingLogps = sampled;
      if (parsed.beta !== 0) {
        const outputs = await context.learner.forward(batch, ['logps'], { signal, temperature, reference: true });
        batch.columns.refLogps = outputs.logps!;
      }
      return { batch, metrics, advantages: perTrajectory };
    },
  });
}

/** How far the learner's log-probs are from the sampler's, which had the same weights. */
function mismatch(learner: Float32Array, sampler: Float32Array): Record<string, number> {
  let total = 0;
  let most = 0;
  let count = 0;
  learner.forEach((logp, i) => {
    const difference = Math.abs(logp - sampler[i]);
    if (Number.isNaN(difference)) return;
    total += difference;
    most = Math.max(most, difference);
    count++;
  });
  return { 'sampling/sampling_logp_difference/mean': total / Math.max(count, 1), 'sampling/sampling_logp_difference/max': most };
}
