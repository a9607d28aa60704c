import { Random, ShuffledCursor, type CursorState } from '@espalier/data';
import { collectEpisodes, transcript, type EpisodeGroup, type EpisodeTask } from '@espalier/rollouts';
import { EspalierError, type Algorithm, type Learner, type Metrics, type Objective, type RewardFunction, type RolloutEngine, type SamplingOptions, type ScoredTrajectory, type TokenBatch, type Tracker } from '@espalier/spec';
import type { TrainerCallback } from './callbacks';
import { rewardsBeside, type OnlineEnvironment } from './environment/open-environment';
import { episodeMetrics, scoreEpisodes } from './environment/score-episodes';
import { evaluateReward, type RewardEvaluation } from './evaluate-reward';
import { chooseAlarms } from './monitor-options';
import { hackingSignals } from './monitor-signals';
import { roundGeometry, type OnlineArguments, type RoundGeometry } from './online-arguments';
import type { OwnedLearner, OwningAlgorithm } from './owned-learners';
import type { PromptSource, Row, TaskPrompt } from './prompts';
import { rewardTotal, scoreSamples, weightedRewards, weightedTotal, type WeightedReward } from './rewards';
import { tokenAdvantages, tokenFields } from './sample-tokens';
import { deriveSeed } from './seeds';
import { asOneStep, ownSequences, selectSequences } from './split-batch';
import type { Json } from './trainer-state';
import type { TrainResult } from './loop-options';
import type { Update, UpdatePart } from './round';
import { runTrainingLoop } from './training-loop';

/** An algorithm that carries state from round to round (an adaptive coefficient), to be saved with a checkpoint. */
export interface StatefulAlgorithm extends Algorithm {
  state(): Json;
  restore(state: Json): void;
}

/** A loss on other data that is added to every optimiser step (a language-model loss beside the policy's). */
export interface AuxiliaryLoss {
  /** Put before the names of its metrics: `lm/`. */
  prefix: string;
  objective: Objective;
  /** The batch of optimiser step `step` (from 0): a function of the step alone. */
  batch(step: number): TokenBatch;
}

export interface TrainOnlineOptions {
  name?: string;
  learner: Learner;
  /** Learners that the algorithm owns and trains beside it. */
  learners?: readonly OwnedLearner[];
  rollouts: RolloutEngine;
  algorithm: Algorithm | StatefulAlgorithm;
  rewards: readonly (RewardFunction | WeightedReward)[];
  /** What the rewards stand for: scored on the same completions and never trained on, so that alarms can tell when they part. */
  goldReward?: RewardFunction;
  /** What is asked; with an environment its rows alone are looked at. */
  prompts: PromptSource<TaskPrompt>;
  /** What episodes run in, which belongs to the caller. Default: none, every prompt is answered once. */
  environment?: OnlineEnvironment | null;
  args: OnlineArguments;
  auxiliary?: readonly AuxiliaryLoss[];
  /** Held-out prompts: greedy mean reward and accuracy at every evaluation. */
  evalPrompts?: readonly TaskPrompt[];
  /** Completions a prompt in evaluation. Default 1. */
  evalSamples?: number;
  stop?: readonly string[];
  /** Text of tokens, without special ones: with `logCompletions` it says in `samples.jsonl` which part of a completion each token is. */
  decode?: (tokens: Int32Array) => string;
  config?: Record<string, Json>;
  callbacks?: readonly TrainerCallback[];
  trackers?: readonly Tracker[];
  signal?: AbortSignal;
}

/** Optimiser steps that the arguments ask for: `maxSteps`, or enough for `numTrainEpochs` passes over the prompts. */
export function onlineSteps(prompts: number, args: Pick<OnlineArguments, 'maxSteps' | 'numTrainEpochs'>, geometry: RoundGeometry): number {
  if (args.maxSteps <= 0 && !Number.isFinite(prompts)) throw new EspalierError('bad_config', 'the dataset has no end, and `max_steps` is not set', { fix: 'set `max_steps`, or give the task a `size`' });
  return args.maxSteps > 0 ? args.maxSteps : Math.ceil((args.numTrainEpochs * prompts) / geometry.prompts) * geometry.updates;
}

/** Metrics of an evaluation, as they are logged (without the prefix `eval_`). */
export function evaluationMetrics(evaluation: RewardEvaluation): Metrics {
  const metrics: Metrics = { reward: evaluation.reward, accuracy: evaluation.accuracy };
  if (evaluation.gold !== undefined) Object.assign(metrics, { gold: evaluation.gold.mean, gold_error: evaluation.gold.error });
  for (const [name, value] of Object.entries(evaluation.rewards)) metrics[`rewards/${name}/mean`] = value;
  for (const [k, value] of Object.entries(evaluation.passAt)) if (Number(k) > 1) metrics[`pass@${k}`] = value;
  if (evaluation.meanTurns !== undefined) metrics['turns/mean'] = evaluation.meanTurns;
  return { ...metrics, 'completions/mean_length': evaluation.meanLength, 'completions/clipped_ratio': evaluation.clippedRatio };
}

/**
 * Trains on what the policy generates: prompts → rollouts → rewards → the algorithm's experience → optimiser steps → new weights for the sampler.
 *
 * The seed of every completion derives from (seed, round, prompt), rows come in an order that derives from the seed, and a round ends with nothing
 * left over: so a resumed run repeats what the uninterrupted one would have done. A micro-batch holds `perDeviceTrainBatchSize` completions.
 *
 * @throws EspalierError `bad_config` for batch sizes that do not divide, or what a reward function threw, with its name; `aborted`
 */
export async function trainOnline(options: TrainOnlineOptions): Promise<TrainResult> {
  const { args, learner, rollouts, prompts, signal } = options;
  const algorithm: OwningAlgorithm = options.algorithm;
  const environment = options.environment ?? null;
  const rewards = rewardsBeside(environment, options.rewards, args.rewardWeights);
  const rewardWeights = { ...Object.fromEntries(rewards.map(({ reward, weight }) => [reward.name, weight])), ...(environment ? { [environment.name]: 1 } : {}) };
  const gold = options.goldReward === undefined ? [] : weightedRewards([options.goldReward]);
  chooseAlarms(args);
  const geometry = roundGeometry(args, algorithm.numIterations);
  if (args.dynamicSampling && args.numGenerations < 2) throw new EspalierError('bad_config', '`dynamic_sampling` looks for groups whose completions differ, and `num_generations` is 1', { fix: 'a `num_generations` of at least 2' });
  if (algorithm.step && (geometry.updates > 1 || geometry.generations > 1)) {
    throw new EspalierError('bad_config', `${algorithm.name} divides a generation into optimiser steps itself: \`steps_per_generation\` ${geometry.stepsPerGeneration} must be \`gradient_accumulation_steps\` ${args.gradientAccumulationSteps}`, { fix: 'leave `steps_per_generation` and `generation_batch_size` out' });
  }
  if (!rollouts.capabilities.tokenIds) throw new EspalierError('unsupported', `rollout engine "${rollouts.name}" does not give the ids of the tokens that it sampled: text that is tokenised again is not what was sampled`, { fix: 'a rollout engine with token ids, such as vLLM from 0.10.2' });
  if (!rollouts.sync && rollouts.capabilities.sync !== 'memory') throw new EspalierError('unsupported', `rollout engine "${rollouts.name}" cannot take new weights over: it would go on sampling from the first ones`, { fix: 'a rollout engine with `sync`' });
  const cursorOptions = { seed: args.dataSeed ?? args.seed, shuffle: args.shuffleDataset };
  let cursor = new ShuffledCursor(prompts.size, cursorOptions);
  const sampling = samplingOf(args, options.stop);
  const { evalPrompts } = options;
  const goldOf = new WeakMap<Int32Array, number | null>(); // by the tokens of a completion, for `samples.jsonl`

  async function sync(): Promise<number> {
    const weights = await learner.publish();
    await rollouts.sync?.(weights);
    return weights.version;
  }

  /** Completions of the next `count` prompts with their rewards; `attempt` tells the draws of a round apart. */
  async function sample(count: number, index: number, step: number, attempt: number) {
    const rows = cursor.take(count);
    const tasks = rows.map((row, i): EpisodeTask<Row> => ({
      ...prompts.at(row),
      id: attempt === 0 ? `${index}-${i}` : `${index}-${i}-${attempt}`,
      seed: attempt === 0 ? deriveSeed(args.seed, index, i) : deriveSeed(args.seed, index, i, attempt),
    }));
    const groups = await collectEpisodes(rollouts, tasks, { n: args.numGenerations, sampling, signal, forTraining: true, ...(environment ? { environment } : {}) });
    return { groups, ...(await score(groups, step)) };
  }

  /** Puts groups of other prompts in the place of those without variance. The metrics of the first draw stand: they are those of all prompts. */
  async function resample(groups: EpisodeGroup<Row>[], scored: ScoredTrajectory[][], index: number, step: number): Promise<Metrics> {
    const isFlat = (group: readonly ScoredTrajectory[]) => new Set(group.map((trajectory) => weightedTotal(trajectory.rewards, rewardWeights)).filter((total) => total !== null)).size < 2;
    const first = scored.flat().map((trajectory) => weightedTotal(trajectory.rewards, rewardWeights)).filter((total) => total !== null);
    let drawn = 0;
    for (let attempt = 1; attempt <= args.maxResamples; attempt++) {
      const flat = scored.flatMap((group, i) => (isFlat(group) ? [i] : []));
      if (flat.length === 0) break;
      const other = await sample(flat.length, index, step, attempt);
      drawn += flat.length;
      const lively = other.scored.flatMap((group, i) => (isFlat(group) ? [] : [i]));
      lively.forEach((from, k) => {
        groups[flat[k]] = other.groups[from];
        scored[flat[k]] = other.scored[from];
      });
    }
    const metrics: Metrics = { 'dynamic_sampling/resampled_groups': drawn, 'dynamic_sampling/flat_groups': scored.filter(isFlat).length };
    if (first.length > 0) metrics['dynamic_sampling/reward_before'] = first.reduce((a, b) => a + b, 0) / first.length;
    return metrics;
  }

  async function prepare({ index, step }: { index: number; step: number }) {
    const version = await sync();
    const { groups, scored, metrics } = await sample(geometry.prompts, index, step, 0);
    if (args.dynamicSampling) Object.assign(metrics, await resample(groups, scored, index, step));
    const sampler = { sharesWeights: rollouts.capabilities.sync === 'memory' && !rollouts.capabilities.rounded, version };
    const microBatches: TokenBatch[] = [];
    const ownUpdates: Omit<Update, 'numTokens'>[] = [];
    const experienceMetrics: Metrics[] = [];
    const advantages: (number | null | undefined)[][] = [];
    const byToken: (readonly number[] | undefined)[][] = []; // advantages that differ by token
    for (let g = 0; g < geometry.generations; g++) {
      const generation = scored.slice(g * geometry.promptsPerGeneration, (g + 1) * geometry.promptsPerGeneration);
      const experience = await algorithm.experience(generation, { step, learner, rewardWeights, maxCompletionLength: args.maxCompletionLength, temperature: args.temperature, sampler, signal });
      experienceMetrics.push(experience.metrics);
      generation.forEach((_, i) => advantages.push([...(experience.advantages?.[i] ?? [])]));
      if (args.logCompletions) byToken.push(...tokenAdvantages(experience.batch, generation));
      if (algorithm.step) {
        ownUpdates.push(algorithm.step(experience.batch, { objective: algorithm.objective, temperature: args.temperature, microBatchSize: args.perDeviceTrainBatchSize, seed: deriveSeed(args.seed, index, g, 0x5b1f) }));
        continue;
      }
      const parts = splitGeneration(experience.batch, geometry, deriveSeed(args.seed, index, g, 0x5b1f));
      for (let iteration = 0; iteration < algorithm.numIterations; iteration++) microBatches.push(...parts);
    }
    const updates = algorithm.step ? ownUpdates.map((update, u) => withAuxiliary(update, step + u)) : toUpdates(microBatches, step);
    updates[0].numTokens = scored.flat().reduce((sum, { tokens }) => sum + tokens.length, 0);
    const logged = args.logCompletions || (step + 1) % args.loggingSteps === 0 || step === 0;
    return { updates, metrics: { ...metrics, ...meanOf(experienceMetrics) }, samples: logged ? samplesOf(groups, scored, advantages, byToken, step) : [] };
  }

  async function score(groups: readonly EpisodeGroup<Row>[], step: number): Promise<{ scored: ScoredTrajectory[][]; metrics: Metrics }> {
    const logged: Record<string, number[]> = {};
    const log = (metric: string, value: number) => (logged[metric] ??= []).push(value);
    const all = await scoreEpisodes(groups, rewards, environment, { step, signal, log });
    const whole = all.filter(({ episode }) => episode.failure === null); // the others say nothing of the policy
    const samples = whole.map(({ sample }) => sample);
    const results = whole.map((scored) => scored.rewards);
    const metrics: Metrics = Object.fromEntries(Object.entries(logged).map(([name, values]) => [name, values.reduce((a, b) => a + b, 0) / values.length]));
    for (const { reward } of rewards) {
      const nulls = results.filter((result) => result[reward.name] === null).length;
      if (nulls > 0) metrics[`rewards/${reward.name}/unscorable`] = nulls;
    }
    if (environment) Object.assign(metrics, episodeMetrics(all.map(({ episode }) => episode), environment));
    const golds = gold.length > 0 ? (await scoreSamples(gold, samples, { step, signal, evaluation: true })).map((scores) => Object.values(scores)[0]) : null;
    Object.assign(metrics, hackingSignals(samples.map((sample, i) => ({ ...sample, reward: weightedTotal(results[i], rewardWeights), ...(golds ? { gold: golds[i] === null ? null : rewardTotal(golds[i]) } : {}) }))), componentMeans(results));
    if (golds) samples.forEach((sample, i) => goldOf.set(sample.completionTokens, golds[i] === null ? null : rewardTotal(golds[i])));
    let next = 0;
    const scored = groups.map(({ task, episodes }) => episodes.map(({ trajectory }): ScoredTrajectory => ({ ...trajectory, rewards: all[next++].rewards, row: task.row })));
    return { scored, metrics };
  }

  /** Micro-batches in the order of training, cut into optimiser steps. */
  function toUpdates(microBatches: readonly TokenBatch[], step: number): Update[] {
    const size = microBatches.length / geometry.updates;
    return Array.from({ length: geometry.updates }, (_, u): Update => {
      const batches = microBatches.slice(u * size, (u + 1) * size);
      const parts = asOneStep(batches).map((batch) => ({ batch, objective: algorithm.objective, temperature: algorithm.lossTemperature ?? args.temperature }));
      return { parts: [...parts, ...auxiliaryParts(step + u)], numTokens: 0 };
    });
  }

  /** The other losses in the `n`-th optimiser step of the run. */
  function auxiliaryParts(n: number): UpdatePart[] {
    return (options.auxiliary ?? []).map(({ batch, objective, prefix }) => ({ batch: batch(n), objective, prefix }));
  }

  /** An algorithm's own optimiser steps, all of them with the other losses. */
  function withAuxiliary(update: Omit<Update, 'numTokens'>, step: number): Update {
    const all = [update.parts, ...(update.further ?? [])].map((parts, i, { length }) => [...parts, ...auxiliaryParts(step * length + i)]);
    return { ...update, parts: all[0], further: all.slice(1), numTokens: 0 };
  }

  function samplesOf(groups: readonly EpisodeGroup<Row>[], scored: readonly (readonly ScoredTrajectory[])[], advantages: readonly (readonly (number | null | undefined)[])[], byToken: readonly (readonly (readonly number[] | undefined)[])[], step: number): Json[] {
    return groups.flatMap(({ episodes }, g) =>
      episodes.map((episode, k) => {
        const { completion, failure } = episode;
        return {
          step: step + 1,
          prompt: episode.prompt as Json,
          completion: environment ? transcript(episode) : completion.text,
          reward: weightedTotal(scored[g][k].rewards, rewardWeights),
          rewards: Object.fromEntries(Object.entries(scored[g][k].rewards).map(([name, reward]) => [name, reward === null ? null : rewardTotal(reward)])),
          components: componentsOf(scored[g][k]),
          ...(goldOf.has(completion.tokens) ? { gold: goldOf.get(completion.tokens) } : {}),
          advantage: advantages[g]?.[k],
          tokens: completion.tokens.length,
          finish_reason: episode.finishReason,
          ...(environment ? { turns: episode.replies.length, ...(failure ? { failure: failure.message } : {}) } : {}),
          // Between the replies of an episode stands what others said: lengths of its tokens in the text are those of single replies alone.
          ...(args.logCompletions ? tokenFields(completion, { ...(environment ? {} : { decode: options.decode }), advantages: byToken[g]?.[k] }) : {}),
        };
      }),
    );
  }

  const stateful = 'state' in algorithm && 'restore' in algorithm ? (algorithm as StatefulAlgorithm) : null;
  return runTrainingLoop({
    name: options.name ?? algorithm.name,
    learner,
    learners: options.learners,
    args,
    totalSteps: onlineSteps(prompts.size, args, geometry),
    config: { ...options.config, algorithm: algorithm.name, rewards: rewardWeights, arguments: args as unknown as Json },
    evaluate: evalPrompts?.length
      ? async (context) => {
          await sync();
          return evaluationMetrics(await evaluateReward({ rollouts, prompts: evalPrompts, rewards, environment, gold: options.goldReward, samples: options.evalSamples, sampling: { maxNewTokens: args.maxCompletionLength, stop: options.stop, temperature: options.evalSamples && options.evalSamples > 1 ? args.temperature : 0 }, seed: args.seed, ...context }));
        }
      : undefined,
    bestMetric: 'eval_reward',
    monitors: args,
    raiseBeta: () => algorithm.raiseBeta?.(2) ?? null,
    callbacks: options.callbacks,
    trackers: options.trackers,
    signal,
    source: {
      epoch: () => cursor.progress,
      state: () => ({ ...cursor.state() }),
      restore: (state) => (cursor = ShuffledCursor.restore(prompts.size, state as unknown as CursorState, cursorOptions)),
      algorithmState: () => withRewardStates(stateful?.state(), rewards),
      restoreAlgorithm: (state) => restoreStates(state, stateful, rewards),
      prepare,
    },
  });
}

/** The algorithm's state, and with it those of the reward functions that keep one. */
function withRewardStates(algorithm: Json | undefined, rewards: readonly WeightedReward[]): Json | undefined {
  const states = rewards.flatMap(({ reward }) => (reward.state ? [[reward.name, reward.state() as Json] as const] : []));
  if (states.length === 0) return algorithm;
  return { rewards: Object.fromEntries(states), ...(algorithm === undefined ? {} : { algorithm }) };
}

function restoreStates(state: Json, algorithm: StatefulAlgorithm | null, rewards: readonly WeightedReward[]): void {
  const keeping = rewards.filter(({ reward }) => reward.state);
  if (keeping.length === 0) return algorithm?.restore(state);
  const all = state as { rewards: Record<string, Json>; algorithm?: Json };
  for (const { reward } of keeping) if (all.rewards[reward.name] !== undefined) reward.restore?.(all.rewards[reward.name]);
  if (all.algorithm !== undefined) algorithm?.restore(all.algorithm);
}

/** The parts of rewards that have some, by function; undefined when none has. */
function componentsOf({ rewards }: ScoredTrajectory): Json | undefined {
  const parts = Object.entries(rewards).flatMap(([name, reward]) => (typeof reward === 'object' && reward?.components ? [[name, reward.components] as const] : []));
  return parts.length > 0 ? Object.fromEntries(parts) : undefined;
}

/** Means of the parts of composed rewards: `rewards/<function>/<part>/mean`. */
function componentMeans(results: readonly ScoredTrajectory['rewards'][]): Metrics {
  const found: Record<string, number[]> = {};
  for (const rewards of results) {
    for (const [name, reward] of Object.entries(rewards)) {
      if (typeof reward !== 'object' || !reward?.components) continue;
      for (const [part, value] of Object.entries(reward.components)) if (Number.isFinite(value)) (found[`rewards/${name}/${part}/mean`] ??= []).push(value);
    }
  }
  return Object.fromEntries(Object.entries(found).map(([name, values]) => [name, values.reduce((a, b) => a + b, 0) / values.length]));
}

function samplingOf(args: OnlineArguments, stop: readonly string[] | undefined): SamplingOptions {
  const { maxCompletionLength: maxNewTokens, temperature, topP, topK, minP = 0, repetitionPenalty } = args;
  return { maxNewTokens, temperature, topP, topK, minP, repetitionPenalty, ...(stop ? { stop } : {}) };
}

/**
 * A generation in micro-batches. Where it serves several optimiser steps its completions are shuffled first, as in TRL, so that a group is not
 * trained on in one step alone; where it serves one, groups stay together and share their prompt. Pairs are not torn apart.
 */
function splitGeneration(batch: TokenBatch, geometry: RoundGeometry, seed: number): TokenBatch[] {
  if (geometry.stepsPerGeneration === 1) return [batch];
  const { pairs } = batch;
  const own = pairs ? Array.from({ length: pairs.length / 2 }, (_, p) => [pairs[2 * p], pairs[2 * p + 1]]) : ownSequences(batch).map((sequence) => [sequence]);
  const units = geometry.updates > 1 ? Array.from(new Random(seed).permutation(own.length), (i) => own[i]) : own;
  const parts = Array.from({ length: geometry.stepsPerGeneration }, (_, p) => {
    const start = Math.floor((p * units.length) / geometry.stepsPerGeneration);
    return selectSequences(batch, units.slice(start, Math.floor(((p + 1) * units.length) / geometry.stepsPerGeneration)).flat());
  });
  // The counts of the algorithm include what it masks: one optimiser step keeps them.
  return geometry.updates === 1 && geometry.generations === 1 ? parts.map((part, p) => ({ ...part, normalizer: p === 0 ? batch.normalizer : { tokens: 0, sequences: 0 } })) : parts;
}

function meanOf(list: readonly Metrics[]): Metrics {
  const names = new Set(list.flatMap((metrics) => Object.keys(metrics)));
  return Object.fromEntries(
    [...names].map((name) => {
      const values = list.map((metrics) => metrics[name]).filter((value) => value !== undefined);
      return [name, values.reduce((a, b) => a + b, 0) / values.length];
    }),
  );
}
