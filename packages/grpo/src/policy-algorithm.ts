import { actionRows, klEstimate, type KlEstimator } from '@espalier/objectives';
import { defineAlgorithm, EspalierError, type Algorithm, type Metrics, type Objective, type ScoredTrajectory } from '@espalier/spec';
import { roundGeometry, type OnlineArguments } from '@espalier/trainer';
import { readAdvantages, type AdvantageFunction, type TrajectoryAdvantage } from './advantage-function';
import { isTruncated, packGroups, rewardMatrix, samplerLogps, summarize, type ActionSource, type Groups, type RewardMatrix } from './experience';
import { correct, corrects, findStale, mismatchSums } from './off-policy';
import type { OffPolicyConfig } from './policy-config';

/** What the algorithms of this package have in common in their configuration. */
export type PolicyConfig = OnlineArguments & OffPolicyConfig & { beta: number; numIterations: number; maskTruncatedCompletions: boolean };

/** What an estimator makes advantages of. */
export interface EstimateInput {
  groups: Groups;
  rewards: RewardMatrix;
  /** Weighted sums; null where no function applied. [B] */
  totals: readonly (number | null)[];
  /** In the order of the groups: the actions of a trajectory are neighbours. [A] */
  actions: readonly ActionSource[];
  /** KL of π_old from the reference at each action, where the reward takes it in. [A] */
  kl: Float64Array | null;
}

export interface Estimate {
  /** By trajectory: one number, or one a trained token; null: it is not trained on. */
  advantages: ReadonlyMap<ScoredTrajectory, TrajectoryAdvantage>;
  metrics: Metrics;
}

export interface PolicyAlgorithmParts {
  name: string;
  config: PolicyConfig;
  objective: Objective;
  /** Where `beta` weighs the KL: in the loss (column `refLogps`), or in the reward with this estimator. */
  kl: 'loss' | { inReward: KlEstimator };
  /** Log-probs of the sampler are a column whenever it gives some. */
  needsSamplingLogps?: boolean;
  estimate(input: EstimateInput): Estimate;
  /** In place of `estimate`. */
  advantages?: AdvantageFunction;
}

/**
 * The experience of GRPO, RLOO and REINFORCE++, which differ in how rewards become advantages: one generation becomes one batch in which each group's prompt is
 * stored and computed once. Three policies are kept apart: the sampler's (μ, `samplingLogps`), the learner's before it trains on the batch (π_old, `oldLogps`),
 * the current one.
 */
export function policyAlgorithm(parts: PolicyAlgorithmParts): Algorithm {
  const { config, name } = parts;
  const severalUpdates = roundGeometry(config, config.numIterations).updates > 1; // the weights change while one generation is trained on
  const klInReward = parts.kl !== 'loss' && config.beta !== 0 ? parts.kl.inReward : null;
  return defineAlgorithm({
    name,
    objective: parts.objective,
    numIterations: config.numIterations,
    needsReference: config.beta !== 0,

    async experience(incoming, context) {
      const { signal, temperature, learner } = context;
      const { rejected, metrics } = findStale(incoming.flat(), context, config);
      const groups = rejected.size === 0 ? incoming : incoming.map((group) => group.map((trajectory) => (rejected.has(trajectory) ? withoutRewards(trajectory) : trajectory)));
      const stale = new Set(groups.flatMap((group, g) => group.filter((_, k) => rejected.has(incoming[g][k]))));
      const rewards = rewardMatrix(groups, context.rewardWeights);
      const { totals, metrics: rewardMetrics } = summarize(groups, rewards);
      Object.assign(metrics, rewardMetrics);
      const custom = parts.advantages ? readAdvantages(groups, await parts.advantages(groups, { step: context.step, rewards: inGroups(totals, rewards.groupSizes), rewardWeights: context.rewardWeights, maxCompletionLength: context.maxCompletionLength, signal })) : null;

      const { batch, actions } = packGroups(groups, (trajectory) => (config.maskTruncatedCompletions && isTruncated(trajectory)) || stale.has(trajectory) || custom?.get(trajectory) === null);
      let kl: Float64Array | null = null;
      if (actions.length > 0) {
        const { columns } = batch;
        const sampled = samplerLogps(actions);
        const correcting = corrects(context, config);
        if ((correcting && config.importanceSamplingCorrection === true) || config.oldLogps === 'sampler') {
          if (!sampled) throw new EspalierError('unsupported', `${config.oldLogps === 'sampler' ? '`old_logps` sampler' : '`importance_sampling_correction`'} needs the log-probs of the sampler, and this rollout engine gives none`, { fix: config.oldLogps === 'sampler' ? '`old_logps` recompute' : '`importance_sampling_correction` auto or false' });
        }
        if (config.oldLogps === 'sampler') columns.oldLogps = sampled!;
        else if (config.oldLogps === 'recompute' || severalUpdates || klInReward) {
          columns.oldLogps = (await learner.forward(batch, ['logps'], { signal, temperature })).logps!;
          if (sampled) for (const [metric, { sum, weight }] of Object.entries(mismatchSums(columns.oldLogps, sampled))) metrics[metric] = sum / weight;
          if (sampled && correcting) {
            const { column, metrics: ofCorrection } = correct(columns.oldLogps, sampled, actionRows(batch), config);
            columns.importanceSamplingRatio = column;
            Object.assign(metrics, ofCorrection);
          }
        }
        if (sampled && (parts.needsSamplingLogps || !columns.oldLogps)) columns.samplingLogps = sampled;
        if (sampled && correcting && !columns.oldLogps) columns.corrected = new Float32Array(sampled.length).fill(1); // in the loss: π_old is the policy there
        if (config.beta !== 0) {
          const refLogps = (await learner.forward(batch, ['logps'], { signal, temperature, reference: true })).logps!;
          if (klInReward) {
            const estimate = klEstimate({ logps: columns.oldLogps, refLogps }, { estimator: klInReward });
            kl = estimate.values;
            metrics.kl = estimate.mean;
          } else columns.refLogps = refLogps;
        }
      }

      const estimate = custom ? { advantages: custom, metrics: {} } : parts.estimate({ groups, rewards, totals, actions, kl });
      Object.assign(metrics, estimate.metrics);
      batch.columns.advantages = spread(actions, estimate.advantages);
      return { batch, metrics, advantages: groups.map((group) => group.map((trajectory) => (stale.has(trajectory) ? null : meanOf(estimate.advantages.get(trajectory))))) };
    },
  });
}

/** As if nothing had scored it: it counts in no baseline. */
function withoutRewards(trajectory: ScoredTrajectory): ScoredTrajectory {
  return { ...trajectory, rewards: Object.fromEntries(Object.keys(trajectory.rewards).map((name) => [name, null])) };
}

function inGroups<T>(values: readonly T[], groupSizes: readonly number[]): T[][] {
  let start = 0;
  return groupSizes.map((size) => values.slice(start, (start += size)));
}

/** The advantage of each action. */
function spread(actions: readonly ActionSource[], advantages: ReadonlyMap<ScoredTrajectory, TrajectoryAdvantage>): Float32Array {
  let place = 0; // among the tokens of its trajectory
  return Float32Array.from(actions, ({ trajectory }, a) => {
    place = a > 0 && actions[a - 1].trajectory === trajectory ? place + 1 : 0;
    const advantage = advantages.get(trajectory) ?? 0;
    return typeof advantage === 'number' ? advantage : advantage[place];
  });
}

function meanOf(advantage: TrajectoryAdvantage | undefined): number | null {
  if (typeof advantage === 'number') return advantage;
  if (!advantage) return null;
  return advantage.length === 0 ? 0 : Array.from(advantage).reduce((a, b) => a + b, 0) / advantage.length;
}
