import { defineReward, type Algorithm, type RewardFunction, type ScoredTrajectory } from '@espalier/spec';
import type { Json, OwningAlgorithm, StatefulAlgorithm } from '@espalier/trainer';
import type { ComputeMeter } from './compute-meter';

const promptLength = ({ trainable }: ScoredTrajectory) => (trainable.indexOf(1) < 0 ? trainable.length : trainable.indexOf(1));

/** An algorithm whose passes are counted: scoring, training, those of learners that it owns. The count is a part of its state. */
export function meteredAlgorithm(algorithm: Algorithm, meter: ComputeMeter): OwningAlgorithm & StatefulAlgorithm {
  const owning: OwningAlgorithm = algorithm;
  const inner = 'state' in algorithm && 'restore' in algorithm ? (algorithm as StatefulAlgorithm) : null;
  const objective = meter.objective(algorithm.objective);
  return {
    ...owning,
    objective,
    experience(groups, context) {
      meter.generated(groups.reduce((sum, group) => sum + (group.length > 0 ? promptLength(group[0]) : 0), 0));
      return algorithm.experience(groups, { ...context, learner: meter.learner(context.learner) });
    },
    ...(owning.openLearners
      ? {
          openLearners: (context) => owning.openLearners!({ ...context, policy: { ...context.policy, learner: meter.learner(context.policy.learner) } }),
        }
      : {}),
    ...(owning.step
      ? {
          step(batch, context) {
            const update = owning.step!(batch, context);
            const counted = (parts: typeof update.parts) => parts.map((part) => (part.objective === objective ? part : { ...part, objective: meter.objective(part.objective) }));
            return { ...update, parts: counted(update.parts), ...(update.further ? { further: update.further.map(counted) } : {}) };
          },
        }
      : {}),
    state: (): Json => ({ compute: meter.state(), ...(inner ? { inner: inner.state() } : {}) }),
    restore(state) {
      const { compute, inner: saved } = state as { compute: Json; inner?: Json };
      meter.restore(compute);
      if (inner && saved !== undefined) inner.restore(saved);
    },
  };
}

/** A reward function that counts the tokens that it is shown: every completion of a run passes through it, those that dynamic sampling throws away too. */
export function meteredReward(reward: RewardFunction, meter: ComputeMeter): RewardFunction {
  return defineReward({
    ...reward,
    async score(samples, context) {
      if (!context.evaluation) meter.generated(samples.reduce((sum, { completionTokens }) => sum + completionTokens.length, 0));
      return reward.score(samples, context);
    },
  });
}
