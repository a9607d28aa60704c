import type { Engine } from '@espalier/engine';
import { samplerMismatch } from '@espalier/objectives';
import { defineAlgorithm, EspalierError, type Learner, type Metrics, type Outputs, type TokenBatch } from '@espalier/spec';
import { openPolicy, type Json, type OwningAlgorithm, type StatefulAlgorithm } from '@espalier/trainer';
import { adaptKlCoef } from './adaptive-kl';
import { parsePPOFields, type PPOConfigInput } from './config';
import { fillExperience, rewardMetrics, type RewardedRow, type RolloutNumbers } from './experience';
import { criticName, minibatchSteps } from './minibatches';
import { ppoPolicyObjective, ppoSharedObjective, ppoValueObjective, valueOutputs } from './objective';
import { packGroups, sampledPositions, type PackedRow } from './pack';
import { noMoments, type RunningMoments } from './running-moments';
import { completionReward, rewardSum } from './token-rewards';

export interface PPOOptions {
  /** An engine with a scalar head for the critic: it stays open. Default: what the configuration says. */
  valueModel?: Engine;
  /** A learner that gives `values` (and `scores` with `valueAfterEos`), for whoever drives the algorithm without a trainer. */
  critic?: Learner;
}

/** What {@link ppo} makes: an algorithm that owns its critic, makes its own optimiser steps and carries state from batch to batch. */
export type PPOAlgorithm = OwningAlgorithm & StatefulAlgorithm;

interface State {
  klCoef: number;
  moments: RunningMoments;
  episode: number;
}

/**
 * Proximal policy optimisation as an algorithm for any on-policy trainer: a critic's values, divergence in the reward, generalised advantages, clipped losses,
 * several passes over a batch. One step of the run is one batch of completions.
 *
 * The critic is a second model, opened by the trainer (`valueModel`, by default the policy's own checkpoint, with a fresh head) and trained, saved and restored
 * with the policy; or with `sharedTrunk` a second head of the policy itself.
 *
 * @param config TRL's `PPOConfig` in camelCase; see `ppoConfig`
 * @throws EspalierError `bad_config`
 *
 * @example
 * new RPTTrainer({ algorithm: ppo({ numPpoEpochs: 2, klCoef: 0.02 }), args: { perDeviceTrainBatchSize: 32, numGenerations: 1 }, … });
 */
export function ppo(config: PPOConfigInput = {}, options: PPOOptions = {}): PPOAlgorithm {
  const parsed = parsePPOFields(config);
  const { sharedTrunk } = parsed;
  const policy = sharedTrunk ? ppoSharedObjective(parsed) : ppoPolicyObjective(parsed);
  const value = sharedTrunk ? null : ppoValueObjective(parsed);
  let critic: Learner | null = options.critic ?? null;
  let state: State = { klCoef: parsed.klCoef, moments: noMoments, episode: 0 };

  const algorithm = defineAlgorithm({
    name: 'ppo',
    objective: policy,
    numIterations: 1,
    needsReference: parsed.klCoef !== 0,

    async experience(groups, context) {
      const totals = groups.map((group) => group.map((trajectory) => completionReward(trajectory, sampledPositions(trajectory), context.rewardWeights)));
      const scored = groups.map((group, g) => group.filter((_, i) => totals[g][i] !== null));
      const { batch, rows } = packGroups(scored);
      const trajectories = groups.flat();
      const rewards = new Map(trajectories.map((trajectory, i) => [trajectory, totals.flat()[i]]));
      const episode = state.episode + trajectories.length;
      const metrics = { ...rewardMetrics(trajectories, totals.flat().map((total) => total && rewardSum(total))), episode };
      if (rows.length === 0) {
        state = { ...state, episode };
        return { batch, metrics };
      }
      const rewarded = rows.map((row): RewardedRow => ({ ...row, reward: rewards.get(row.trajectory)! }));
      const { numbers, metrics: mismatch } = await askModels(batch, rows, context);
      const made = fillExperience(batch, rewarded, numbers, { klCoef: state.klCoef, moments: state.moments, maxCompletionLength: context.maxCompletionLength }, parsed);
      const { klTarget, klHorizon } = parsed;
      const klCoef = klTarget === undefined ? state.klCoef : adaptKlCoef(state.klCoef, { kl: made.kl, completions: rows.length }, { target: klTarget, horizon: klHorizon });
      state = { klCoef, moments: made.moments, episode };
      const advantages = groups.map((group) => group.map((trajectory) => made.advantages.get(trajectory) ?? null));
      return { batch, metrics: { ...metrics, ...made.metrics, ...mismatch }, advantages };
    },
  });

  /** Old log-probs, those of the reference, values. */
  async function askModels(batch: TokenBatch, rows: readonly PackedRow[], { learner, temperature, signal }: { learner: Learner; temperature: number; signal?: AbortSignal }): Promise<{ numbers: RolloutNumbers; metrics: Metrics }> {
    const reported = samplerLogps(rows);
    const sampled = parsed.oldLogps === 'sampler' ? reported : null;
    if (parsed.oldLogps === 'sampler' && !sampled) throw new EspalierError('unsupported', '`old_logps` sampler needs the log-probs of the sampler, and this rollout engine gives none', { fix: '`old_logps` recompute' });
    const own = sampled ? [] : (['logps'] as const);
    const valueNeeds = valueOutputs(parsed);
    let outputs: Outputs = {};
    let values: Outputs;
    if (sharedTrunk) values = outputs = await learner.forward(batch, [...own, ...valueNeeds], { temperature, signal });
    else {
      if (!critic) throw new EspalierError('usage', 'the critic of ppo is not open', { fix: 'run it under a trainer, give `critic`, or set `sharedTrunk`' });
      if (!sampled) outputs = await learner.forward(batch, ['logps'], { temperature, signal });
      values = await critic.forward(batch, valueNeeds, { signal });
    }
    const reference = parsed.klCoef === 0 ? null : await learner.forward(batch, ['logps'], { temperature, signal, reference: true });
    const oldLogps = sampled ?? outputs.logps!;
    const numbers = { oldLogps, refLogps: reference?.logps ?? null, values: values.values!, valuesAfter: parsed.valueAfterEos ? values.scores! : null };
    return { numbers, metrics: reported && !sampled ? mismatchMetrics(oldLogps, reported) : {} };
  }

  return {
    ...algorithm,
    policyEngine: {
      ...(sharedTrunk ? { scalarHead: true } : {}),
      ...(parsed.freezeLayers === undefined ? {} : { freeze: { layers: parsed.freezeLayers } }),
      ...(parsed.emaDecay === undefined ? {} : { ema: { decay: parsed.emaDecay } }),
    },
    async openLearners({ policy: opened, model, modelArgs, seed, inline, signal }) {
      const field = parsed.freezeLayers !== undefined ? 'freeze_layers' : parsed.emaDecay !== undefined ? 'ema_decay' : null;
      if (field && typeof model !== 'string') throw new EspalierError('bad_config', `\`${field}\` decides how the policy is opened, and the policy is an open engine`, { fix: 'open it with `freeze` or `ema`, and leave the field out' });
      if (sharedTrunk) {
        if (!opened.learner.capabilities.outputs.includes('values')) throw new EspalierError('bad_config', '`shared_trunk` needs a policy with a scalar head, and the engine given has none', { fix: 'open it with `scalarHead: true`, or give a model to open' });
        return { learners: [], close: async () => undefined };
      }
      const source = options.valueModel ?? parsed.valueModel ?? model;
      if (options.valueModel === undefined && typeof source !== 'string') throw new EspalierError('bad_config', 'the policy is an open engine, and there is no critic', { fix: '`value_model`: a folder, a file, a hub id or an engine with a scalar head; or `shared_trunk`' });
      const second = await openPolicy(source, { modelArgs, engine: { scalarHead: true }, seed, inline, signal });
      if (!second.learner.capabilities.outputs.includes('values')) throw new EspalierError('bad_config', 'the engine given as `value_model` has no scalar head', { fix: 'open it with `scalarHead: true`' });
      critic = second.learner;
      const learningRateScale = parsed.valueLearningRate === undefined ? 1 : parsed.valueLearningRate / parsed.learningRate;
      return { learners: [{ name: criticName, learner: second.learner, learningRateScale }], config: { [criticName]: second.config }, close: () => second.close() };
    },
    step: (batch, context) => minibatchSteps(batch, value, parsed, context),
    raiseBeta: (factor) => (state.klCoef === 0 ? null : (state = { ...state, klCoef: state.klCoef * factor }).klCoef),
    state: () => ({ ...state, moments: { ...state.moments } }) satisfies Json,
    restore(saved) {
      state = structuredClone(saved) as unknown as State;
    },
  };
}

/** What the sampler reported for each action; null where it lacks one. [A] */
function samplerLogps(rows: readonly PackedRow[]): Float32Array | null {
  const logps = Float32Array.from(rows.flatMap(({ trajectory, positions }) => positions.map((t) => trajectory.samplerLogps?.[t] ?? NaN)));
  return logps.some(Number.isNaN) ? null : logps;
}

/** How far the sampler's distribution μ is from the learner's π_old, which the losses take for it. */
function mismatchMetrics(oldLogps: Float32Array, sampled: Float32Array): Metrics {
  const { differences, kl, effectiveSampleSize, count } = samplerMismatch(oldLogps, sampled);
  return {
    'sampling/sampling_logp_difference/mean': differences.sum / Math.max(count, 1),
    'sampling/sampling_logp_difference/max': differences.max,
    'sampling/kl': kl / Math.max(count, 1),
    'sampling/effective_sample_size': effectiveSampleSize,
  };
}
