import { join } from 'node:path';
import { curriculumByRef, isCurriculumRef } from '@espalier/data';
import { writeReport } from '@espalier/report';
import { EspalierError, type Algorithm, type Metrics, type TextModel } from '@espalier/spec';
import type { DatasetInput, Json, OnlineTrainerOptions, PlannedModel, RewardEvaluation, RunPlan, StatefulAlgorithm, TrainResult } from '@espalier/trainer';
import { ownFields, parseRPTConfig, type RPTConfig, type RPTConfigInput } from './config';
import { matchedControl, writeControlReport, type ControlReport } from './control/matched-control';
import type { Embed } from './next-segment/similarity-reward';
import type { RowCurriculum } from './curriculum';
import type { ObjectiveRun, RPTObjective } from './objective';
import { objectiveNamed } from './objectives';
import { checkLmLoss } from './sampled-run';

/** What {@link RPTTrainer} takes. */
export interface RPTTrainerOptions extends Omit<OnlineTrainerOptions, 'rewardFuncs' | 'trainDataset'> {
  /** Rows of the type that the objective trains on: a `.jsonl` file, a task's name, a dataset, or rows. `curriculum:families=…` names a curriculum. Needed but with `curriculum`. */
  trainDataset?: DatasetInput;
  /** `verifiable`: rows that are chosen by what completions earn, in place of `trainDataset`. Its state is saved with checkpoints. */
  curriculum?: RowCurriculum;
  /** What is trained on, as a value. Default: the one that `args.objective` names. */
  objective?: RPTObjective;
  /** Any on-policy algorithm; its group size and batch sizes are those of `args`. Needed where the objective has none of its own. */
  algorithm?: Algorithm | StatefulAlgorithm;
  /** Needed where the objective has none of its own; others count them beside theirs. */
  rewardFuncs?: OnlineTrainerOptions['rewardFuncs'];
  args?: RPTConfigInput;
  /** Rows of the language-model loss, which `lmLossCoef` weighs. */
  lmDataset?: DatasetInput;
  /** `next-segment` with `segmentReward: 'judge'`: who judges, in place of `args.segmentJudge`. */
  judge?: TextModel;
  /** `next-segment` with `segmentReward: 'similarity'`: texts as vectors, whose cosine is the reward. Default: the words that they share. */
  embed?: Embed;
  /** What the algorithm was made of, for the record: a resumed run must have the same. */
  algorithmConfig?: Json;
}

/** What a run ends with; with `control` the two side by side. */
export type RPTResult = TrainResult & { control?: ControlReport };

/** Of a run's folder, where its control is. */
const controlFolder = 'control';

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

  private readonly options: RPTTrainerOptions & { trainDataset: DatasetInput };

  constructor(given: RPTTrainerOptions) {
    const options = withNamedCurriculum(given);
    const config = parseRPTConfig(options.args, options.objective?.fields);
    this.objective = options.objective ?? objectiveNamed(config.objective);
    this.args = { ...ownFields(config, this.objective), objective: this.objective.name };
    checkGiven(options, this.objective);
    this.options = { ...options, trainDataset: options.trainDataset ?? [] }; // with a curriculum nobody looks there
    checkLmLoss(options, this.args);
    if (this.args.control !== 'none' && typeof options.model !== 'string') throw new EspalierError('bad_config', '`control` begins with the first weights again, and the model given is an open engine', { fix: 'a model by path or id' });
    this.objective.check?.(options, this.args);
  }

  /**
   * Trains, or goes on with a run (`resume: true`: from the newest checkpoint of `outputDir`; a path: from that checkpoint).
   * @throws EspalierError as `trainOnline` and `trainOffline` do
   */
  async train(call: { resume?: boolean | string; signal?: AbortSignal } = {}): Promise<RPTResult> {
    const run = await this.open(call.signal);
    const resume = call.resume ?? this.args.resumeFromCheckpoint;
    const result = await run.train({ ...call, resume });
    if (this.args.control === 'none') return result;
    return { ...result, control: await this.trainControl(run, result, resume !== false, call.signal ?? this.options.signal) };
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

  /** The control beside the run, both measured alike, and the report of both. */
  private async trainControl(run: ObjectiveRun, result: TrainResult, resume: boolean, signal: AbortSignal | undefined): Promise<ControlReport> {
    const { options, args, objective } = this;
    if (!run.compute) throw new EspalierError('unsupported', `objective ${objective.name} does not say what it spends`, { fix: '`control` none' });
    const compute = run.compute(result);
    const made = await matchedControl({ model: options.model, trainDataset: options.trainDataset, compute, args, outputDir: join(result.outputDir, controlFolder), modelArgs: options.modelArgs, inline: options.inline, resume, signal });
    let held: ControlReport['held'];
    if (options.evalDataset !== undefined) {
      const other = await objective.create({ options: { ...options, model: made.model }, args, signal });
      try {
        held = { run: await run.evaluate({ signal }), control: await other.evaluate({ signal }) };
      } finally {
        await other.close();
      }
    }
    const report: ControlReport = {
      kind: 'ce', folder: controlFolder, compute: { run: compute, control: made.compute }, steps: { run: result.step, control: made.result.step },
      train: { run: result.metrics, control: made.result.metrics }, ...(held ? { held } : {}),
    };
    await writeControlReport(result.outputDir, report);
    await writeReport(result.outputDir).catch(() => undefined); // a page that cannot be written fails no run
    return report;
  }

  private open(signal?: AbortSignal): Promise<ObjectiveRun> {
    if (this.closed) return Promise.reject(new EspalierError('closed', 'the trainer is closed'));
    return (this.run ??= Promise.resolve(this.objective.create({ options: this.options, args: this.args, signal: signal ?? this.options.signal })).catch((error: unknown) => {
      this.run = null; // may be tried again
      throw error;
    }));
  }
}

/** `trainDataset: 'curriculum:…'` as the curriculum that it names. */
function withNamedCurriculum(options: RPTTrainerOptions): RPTTrainerOptions {
  const { trainDataset, ...others } = options;
  return typeof trainDataset === 'string' && isCurriculumRef(trainDataset) && !options.curriculum ? { ...others, curriculum: curriculumByRef(trainDataset) } : options;
}

/** @throws EspalierError `bad_config` when the objective wants an algorithm or rewards that are missing, or has no use for those given */
function checkGiven(options: RPTTrainerOptions, { name, takes }: RPTObjective): void {
  if (options.trainDataset === undefined && !options.curriculum) throw new EspalierError('bad_config', 'there are no rows to train on', { fix: '`trainDataset`, or `curriculum`' });
  if (options.trainDataset !== undefined && options.curriculum) throw new EspalierError('bad_config', 'both `trainDataset` and `curriculum` were given', { fix: 'one of them' });
  if (options.curriculum && name !== 'verifiable') throw new EspalierError('bad_config', `objective ${name} has rows of its own, and no curriculum`, { fix: 'objective verifiable' });
  if ((options.environment ?? options.tools) !== undefined && name !== 'verifiable') throw new EspalierError('bad_config', `objective ${name} asks its own questions, and has no environment`, { fix: 'objective verifiable' });
  if ((options.environment ?? options.tools) !== undefined && options.args?.control === 'ce') throw new EspalierError('bad_config', '`control` learns answers that stand in rows, and those of an environment have none', { fix: '`control` none' });
  if (options.curriculum && options.args?.control === 'ce') throw new EspalierError('bad_config', '`control` needs rows that end, and a curriculum has no end', { fix: '`trainDataset`' });
  for (const [what, given, fix] of [['algorithm', options.algorithm !== undefined, '`algorithm: grpo()`'], ['rewards', options.rewardFuncs !== undefined, 'a reward function']] as const) {
    const field = what === 'algorithm' ? '`algorithm`' : '`rewardFuncs`';
    if (takes[what] === 'required' && !given && !(what === 'rewards' && options.environment !== undefined)) throw new EspalierError('bad_config', `objective ${name} needs ${field}`, { fix });
    if (takes[what] === 'never' && given) throw new EspalierError('bad_config', `objective ${name} has no use for ${field}`, { fix: 'leave it out' });
  }
}
