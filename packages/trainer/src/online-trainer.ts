import type { Engine } from '@espalier/engine';
import type { Dataset } from '@espalier/data';
import { EspalierError, type Algorithm, type RewardFunction, type RolloutEngine, type Tracker } from '@espalier/spec';
import type { ModelArgumentsInput } from './arguments';
import type { TrainerCallback } from './callbacks';
import { datasetDigest, openDataset, type DatasetInput } from './datasets';
import { environmentConfig, environmentOf, openEnvironment, rewardsBeside, type EnvironmentOptions, type OnlineEnvironment } from './environment/open-environment';
import { evaluateReward, type RewardEvaluation } from './evaluate-reward';
import { trainOnline, type AuxiliaryLoss, type StatefulAlgorithm } from './online';
import { roundGeometry, type OnlineArguments } from './online-arguments';
import type { OwnedLearners, OwningAlgorithm } from './owned-learners';
import type { PlannedModel, RunPlan } from './plan';
import { planOnline } from './plan-online';
import { openPolicy, type Policy } from './policy';
import { allPrompts, promptSource, taskSource, type PromptSource, type TaskPrompt } from './prompts';
import { weightedRewards, type WeightedReward } from './rewards';
import type { Json } from './trainer-state';
import type { TrainResult } from './loop-options';

/** What every on-policy trainer takes, whatever its algorithm. */
export interface OnlineTrainerOptions extends EnvironmentOptions {
  /** A folder, a `.gguf` or `.safetensors` file, a hub id; or an engine, which stays open on `close()`. */
  model: string | Engine;
  /** With an environment there may be none: its own reward counts beside theirs. */
  rewardFuncs?: RewardFunction | readonly (RewardFunction | WeightedReward)[];
  /**
   * What the rewards stand for: scored on the same completions, logged as `gold`, never trained on. Alarms tell when a reward parts from it, and `rollback` goes back to
   * the best weights by it.
   */
  goldReward?: RewardFunction;
  /** Prompt-only rows: a `.jsonl` file, a task's name, a dataset, or rows. Further columns reach the reward functions. With an environment: what that begins with. */
  trainDataset: DatasetInput;
  evalDataset?: DatasetInput;
  /** Completions a prompt in evaluation: 1 is greedy, more are sampled and give pass@k. */
  evalSamples?: number;
  callbacks?: readonly TrainerCallback[];
  /** Where metrics and samples go besides the run's folder; `reportTo` may name more. */
  trackers?: readonly Tracker[];
  modelArgs?: ModelArgumentsInput;
  /** Where completions come from. Default: the engine itself. */
  rolloutEngine?: RolloutEngine;
  /** Strings that end a completion. */
  stop?: readonly string[];
  inline?: boolean;
  signal?: AbortSignal;
}

export interface OnlineTrainerParts {
  name: string;
  args: OnlineArguments;
  algorithm: Algorithm | StatefulAlgorithm;
  /** Called before the user's own. */
  callbacks?: (policy: Policy) => readonly TrainerCallback[];
  /** Losses beside the algorithm's, made when the tokenizer is known. */
  auxiliary?: (policy: Policy) => Promise<readonly AuxiliaryLoss[]>;
  /** What else a resumed run must have again. */
  config?: () => Promise<Record<string, Json>>;
}

interface Opened {
  policy: Policy;
  owned: OwnedLearners | null;
  train: Dataset;
  evaluation: Dataset | null;
  environment: OnlineEnvironment | null;
}

/**
 * A policy, its rewards and its rows, and an algorithm that joins them: what `GRPOTrainer` and `RPTTrainer` are. The model is opened by the first
 * call that needs it.
 */
export class OnlineTrainer {
  private opened: Promise<Opened> | null = null;
  private closed = false;
  private readonly rewards: WeightedReward[];

  /** @throws EspalierError `bad_config` for batch sizes that do not divide, or reward functions that clash */
  constructor(
    private readonly options: OnlineTrainerOptions,
    private readonly parts: OnlineTrainerParts,
  ) {
    const { rewardFuncs = [] } = options;
    const list = Array.isArray(rewardFuncs) ? (rewardFuncs as readonly (RewardFunction | WeightedReward)[]) : [rewardFuncs as RewardFunction];
    const environment = environmentOf(options, parts.args);
    this.rewards = environment ? rewardsBeside({ name: '' }, list, parts.args.rewardWeights) : weightedRewards(list, parts.args.rewardWeights);
    roundGeometry(parts.args, parts.algorithm.numIterations);
  }

  /**
   * Trains, or goes on with a run (`resume: true`: from the newest checkpoint of `outputDir`; a path: from that checkpoint).
   * @throws EspalierError as {@link trainOnline}
   */
  async train(call: { resume?: boolean | string; signal?: AbortSignal } = {}): Promise<TrainResult> {
    const { policy, owned, train, evaluation, environment } = await this.open(call.signal);
    const { name, algorithm, auxiliary, config } = this.parts;
    const args = { ...this.parts.args, rewardWeights: undefined, resumeFromCheckpoint: call.resume ?? this.parts.args.resumeFromCheckpoint };
    const encode = (dataset: Dataset) => this.tasks(dataset, policy, environment);
    return trainOnline({
      name,
      learner: policy.learner,
      learners: owned?.learners,
      rollouts: policy.rollouts,
      algorithm,
      rewards: this.rewards,
      goldReward: this.options.goldReward,
      prompts: encode(train),
      environment,
      evalPrompts: evaluation ? allPrompts(encode(evaluation)) : undefined,
      evalSamples: this.options.evalSamples,
      auxiliary: await auxiliary?.(policy),
      args,
      stop: this.options.stop,
      decode: (tokens) => policy.engine.tokenizer.decode(tokens, { skipSpecialTokens: true }),
      config: { name, model: policy.config, dataset: await datasetDigest(train), ...(owned?.config === undefined ? {} : { learners: owned.config }), ...(environment ? { environment: await environmentConfig(environment) } : {}), ...(await config?.()) },
      callbacks: [...(this.parts.callbacks?.(policy) ?? []), ...(this.options.callbacks ?? [])],
      trackers: this.options.trackers,
      signal: call.signal ?? this.options.signal,
    });
  }

  /**
   * Mean reward, accuracy and pass@k on `evalDataset`, with the weights as they are now. Greedy unless `samples` is more than 1.
   * @throws EspalierError `bad_config` without rows to evaluate on
   */
  async evaluate(call: { dataset?: DatasetInput; samples?: number; signal?: AbortSignal; onProgress?: (done: number, total: number) => void } = {}): Promise<RewardEvaluation> {
    const { policy, evaluation, environment } = await this.open(call.signal);
    const dataset = call.dataset === undefined ? evaluation : await openDataset(call.dataset);
    if (!dataset) throw new EspalierError('bad_config', 'there is no `evalDataset`', { fix: 'give one to the trainer, or to evaluate()' });
    const { args } = this.parts;
    const samples = call.samples ?? this.options.evalSamples ?? 1;
    await policy.rollouts.sync?.(await policy.learner.publish());
    return evaluateReward({
      rollouts: policy.rollouts,
      prompts: allPrompts(this.tasks(dataset, policy, environment)),
      environment,
      rewards: this.rewards,
      gold: this.options.goldReward,
      samples,
      sampling: { maxNewTokens: args.maxCompletionLength, temperature: samples > 1 ? args.temperature : 0, stop: this.options.stop },
      seed: args.seed,
      signal: call.signal ?? this.options.signal,
      onProgress: call.onProgress,
    });
  }

  /**
   * What `train` would do: prompts are read and tokenised as it would, no weights are read, nothing is written. Completions are reckoned at their longest.
   * @param model stands for the model where it does not exist yet
   * @throws EspalierError as `train` does before its first step
   */
  plan(model?: PlannedModel): Promise<RunPlan> {
    return planOnline(this.options, this.parts, model);
  }

  /** Writes a folder that `transformers` loads. */
  async saveModel(dir: string, options: { dtype?: 'fp32' | 'bf16' | 'fp16'; merge?: boolean } = {}): Promise<void> {
    await (await this.open()).policy.engine.save(dir, options);
  }

  /**
   * Generates, evaluates and saves with the moving average of the weights (`emaDecay`), until it is called with `false`.
   * @throws EspalierError `unsupported` without an average
   */
  async useEma(on: boolean): Promise<void> {
    await (await this.open()).policy.engine.useEma(on);
  }

  /** Closes what the trainer opened. */
  async close(): Promise<void> {
    this.closed = true;
    const opened = await this.opened?.catch(() => null);
    await opened?.environment?.pool.close();
    await opened?.owned?.close();
    await opened?.policy.close();
  }

  /** What is asked: the prompts of rows, or rows for an environment. */
  private tasks(dataset: Dataset, { engine }: Policy, environment: OnlineEnvironment | null): PromptSource<TaskPrompt> {
    return environment ? taskSource(dataset) : promptSource(dataset, engine.tokenizer, { maxTokens: engine.info.maxPositions - this.parts.args.maxCompletionLength });
  }

  private open(signal?: AbortSignal): Promise<Opened> {
    if (this.closed) return Promise.reject(new EspalierError('closed', 'the trainer is closed'));
    const { options, parts } = this;
    return (this.opened ??= (async () => {
      const train = await openDataset(options.trainDataset, 'trainDataset');
      const evaluation = options.evalDataset === undefined ? null : await openDataset(options.evalDataset, 'evalDataset');
      const algorithm: OwningAlgorithm = parts.algorithm;
      const { modelArgs, inline } = options;
      const { seed } = parts.args;
      const policy = await openPolicy(options.model, {
        modelArgs,
        engine: { ...algorithm.policyEngine, gradientCheckpointing: parts.args.gradientCheckpointing },
        reference: parts.algorithm.needsReference,
        seed,
        inline,
        rolloutEngine: options.rolloutEngine,
        signal: signal ?? options.signal,
      });
      let environment: OnlineEnvironment | null = null;
      try {
        const factory = environmentOf(options, parts.args);
        if (factory) environment = await openEnvironment(factory, parts.args, policy.engine.tokenizer, policy.engine.info.maxPositions - parts.args.maxCompletionLength);
        rewardsBeside(environment, this.rewards);
        const owned = (await algorithm.openLearners?.({ policy, model: options.model, modelArgs, seed, inline, signal: signal ?? options.signal })) ?? null;
        return { policy, owned, train, evaluation, environment };
      } catch (error) {
        await environment?.pool.close();
        await policy.close();
        throw error;
      }
    })().catch((error: unknown) => {
      this.opened = null; // may be tried again
      throw error;
    }));
  }
}
