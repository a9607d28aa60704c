import { EspalierError, type Algorithm, type Metrics } from '@espalier/spec';
import type { DatasetInput, Json, OnlineTrainerOptions, PlannedModel, RewardEvaluation, RunPlan, StatefulAlgorithm, TrainResult } from '@espalier/trainer';
import { ownFields, parseRPTConfig, type RPTConfig, type RPTConfigInput } from './config';
import type { ObjectiveRun, RPTObjective } from './objective';
import { objectiveNamed } from './objectives';
import { checkLmLoss } from './sampled-run';

/** What {@link RPTTrainer} takes. */
export interface RPTTrainerOptions extends Omit<OnlineTrainerOptions, 'rewardFuncs'> {
  /** What is trained on, as a value. Default: the one that `args.objective` names. */
  objective?: RPTObjective;
  /** Any on-policy algorithm; its group size and batch sizes are those of `args`. Needed where the objective has none of its own. */
  algorithm?: Algorithm | StatefulAlgorithm;
  /** Needed where the objective has none of its own; others count them beside theirs. */
  rewardFuncs?: OnlineTrainerOptions['rewardFuncs'];
  args?: RPTConfigInput;
  /** Rows of the language-model loss, which `lmLossCoef` weighs. */
  lmDataset?: DatasetInput;
  /** What the algorithm was made of, for the record: a resumed run must have the same. */
  algorithmConfig?: Json;
}

type EvaluateCall = Parameters<ObjectiveRun['evaluate']>[0];

/**
 * Reinforcement pre-training: one trainer for every objective, which `args.objective` chooses; KL and language-model-loss options. The model is opened by
 * the first call that needs it and closed by `close()`.
 *
 * @throws EspalierError `bad_config` that names every wrong field, batch sizes that do not divide included
 *
 * @example
 * const trainer = new RPTTrainer({
 *   model: 'SmolLM2-135M-Instruct.Q4_1.gguf',
 *   algorithm: grpo({ numGenerations: 8 }),
 *   rewardFuncs: numericReward(),
 *   trainDataset: 'train.jsonl',
 *   args: { outputDir: 'runs/rpt', perDeviceTrainBatchSize: 32, numGenerations: 8, maxCompletionLength: 24, maxSteps: 60, klCoef: 0.01 },
 * });
 * await trainer.train();
 * await trainer.close();
 */
export class RPTTrainer {
  readonly objective: RPTObjective;
  private readonly args: RPTConfig;
  private run: Promise<ObjectiveRun> | null = null;
  private closed = false;

  constructor(private readonly options: RPTTrainerOptions) {
    const config = parseRPTConfig(options.args);
    this.objective = options.objective ?? objectiveNamed(config.objective);
    this.args = { ...ownFields(config, this.objective), objective: this.objective.name };
    checkGiven(options, this.objective);
    checkLmLoss(options, this.args);
    this.objective.check?.(options, this.args);
  }

  /**
   * Trains, or goes on with a run (`resume: true`: from the newest checkpoint of `outputDir`; a path: from that checkpoint).
   * @throws EspalierError as `trainOnline` and `trainOffline` do
   */
  async train(call: { resume?: boolean | string; signal?: AbortSignal } = {}): Promise<TrainResult> {
    return (await this.open(call.signal)).train({ ...call, resume: call.resume ?? this.args.resumeFromCheckpoint });
  }

  /**
   * Mean reward, accuracy and pass@k on `evalDataset`, with the weights as they are now, and examples. Greedy unless `samples` is more than 1.
   * @throws EspalierError `bad_config` without rows to evaluate on; `unsupported` for an objective that samples nothing
   */
  async evaluate(call: EvaluateCall = {}): Promise<RewardEvaluation> {
    const run = await this.open(call.signal);
    if (!run.evaluateReward) throw new EspalierError('unsupported', `objective ${this.objective.name} samples nothing that could be rewarded`, { fix: 'evaluateMetrics(), or an evaluation of its model' });
    return run.evaluateReward(call);
  }

  /**
   * The metrics of an evaluation, whatever the objective, by the names under which they are logged.
   * @throws EspalierError `bad_config` without rows to evaluate on
   */
  async evaluateMetrics(call: EvaluateCall = {}): Promise<Metrics> {
    return (await this.open(call.signal)).evaluate(call);
  }

  /**
   * What `train` would do: rows are read and tokenised as it would, no weights are read, nothing is written. Completions are reckoned at their longest.
   * @param model stands for the model where it does not exist yet
   * @throws EspalierError as `train` does before its first step
   */
  async plan(model?: PlannedModel): Promise<RunPlan> {
    const run = await this.objective.create({ options: this.options, args: this.args, onPaper: true, ...(model ? { planned: model } : {}) });
    try {
      return await run.plan(model);
    } finally {
      await run.close();
    }
  }

  /** Writes a folder that `transformers` loads. */
  async saveModel(dir: string, options: { dtype?: 'fp32' | 'bf16' | 'fp16'; merge?: boolean } = {}): Promise<void> {
    await (await this.open()).saveModel(dir, options);
  }

  /**
   * Generates, evaluates and saves with the moving average of the weights (`emaDecay`), until it is called with `false`.
   * @throws EspalierError `unsupported` without an average
   */
  async useEma(on: boolean): Promise<void> {
    const run = await this.open();
    if (!run.useEma) throw new EspalierError('unsupported', `objective ${this.objective.name} keeps no average of the weights`);
    await run.useEma(on);
  }

  /** Closes what the trainer opened. */
  async close(): Promise<void> {
    this.closed = true;
    const run = await this.run?.catch(() => null);
    await run?.close();
  }

  private open(signal?: AbortSignal): Promise<ObjectiveRun> {
    if (this.closed) return Promise.reject(new EspalierError('closed', 'the trainer is closed'));
    return (this.run ??= Promise.resolve(this.objective.create({ options: this.options, args: this.args, signal: signal ?? this.options.signal })).catch((error: unknown) => {
      this.run = null; // may be tried again
      throw error;
    }));
  }
}

/** @throws EspalierError `bad_config` when the objective wants an algorithm or rewards that are missing, or has no use for those given */
function checkGiven(options: RPTTrainerOptions, { name, takes }: RPTObjective): void {
  for (const [what, given, fix] of [['algorithm', options.algorithm !== undefined, '`algorithm: grpo()`'], ['rewards', options.rewardFuncs !== undefined, 'a reward function']] as const) {
    const field = what === 'algorithm' ? '`algorithm`' : '`rewardFuncs`';
    if (takes[what] === 'required' && !given) throw new EspalierError('bad_config', `objective ${name} needs ${field}`, { fix });
    if (takes[what] === 'never' && given) throw new EspalierError('bad_config', `objective ${name} has no use for ${field}`, { fix: 'leave it out' });
  }
}
