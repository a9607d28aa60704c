import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { algorithmHelp } from '../algorithm-help';
import { fieldHelp } from '../field-help';
import { curriculumByRef, datasetOf, filesByRef, isCurriculumRef, streamFiles, type Dataset, type RowStream } from '@espalier/data';
import { formatNumber, openRows, type OpenRowsOptions } from '@espalier/pipeline';
import { EspalierError, isEspalierError, type Metrics, type Tracker } from '@espalier/spec';
import { modelArguments, type ModelArgumentsInput, type RunPlan, type TrainerCallback, type TrainingArguments, type TrainResult } from '@espalier/trainer';
import type { Command } from 'commander';
import { z } from 'zod';
import { buildCommand, type CommandContext } from '../command';
import { camelCase } from '../fields';
import { beginDryRun, reportPlan } from '../plan/dry-run';
import { startProgress, type Progress } from '../progress';
import { recallRun, rememberRun } from '../run-memory';
import { dataFields, hubOptions, openData, openRegistry, pluginFields } from './data-fields';
import { modelFields } from './model-fields';

/** What a trainer of any family can do. */
export interface AnyTrainer {
  train(call?: { resume?: boolean | string; signal?: AbortSignal }): Promise<TrainResult>;
  saveModel(dir: string, options?: { merge?: boolean }): Promise<void>;
  plan(): Promise<RunPlan>;
  close(): Promise<void>;
}

/** Flags of every training command, besides those of its own configuration. */
const commonFields = {
  ...modelFields,
  ...dataFields,
  evalDataset: z.string().min(1).optional().describe('held-out rows, as --dataset takes them: evaluated at the end, and every --eval-steps'),
  evalLimit: z.int().positive().optional().describe('of --eval-dataset the first rows alone'),
  bf16: modelArguments.shape.bf16.describe('the same as --precision bf16, or fp32 for false'),
  samplerWeights: modelArguments.shape.samplerWeights,
  usePeft: modelArguments.shape.usePeft,
  loraRank: z.int().positive().optional().describe('train low-rank adapters of this rank in place of all weights'),
  loraAlpha: z.number().positive().optional().describe('scale of the adapters: alpha / rank; default 32'),
  loraTargetModules: modelArguments.shape.loraTargetModules,
  ...pluginFields,
  dryRun: z.boolean().default(false).describe('print the plan (batches, steps, memory, time) and end: no weights are read, nothing is written or fetched'),
  resume: z.union([z.boolean(), z.string().min(1)]).default(false).describe('go on with the run in --output-dir, with the flags it was started with; or with the checkpoint that is named'),
};

/** Flags of commands whose rows may come as a stream. */
const streamFields = {
  datasetStreaming: z.boolean().default(false).describe('read --dataset as it is needed: a file (.jsonl, .csv, .tsv, .parquet, text), a folder or a pattern such as corpus/*.jsonl, or a dataset of the hub, that does not fit memory; needs --max-steps'),
  shuffleBufferSize: z.int().positive().default(1000).describe('--dataset-streaming: rows that the next one is drawn from'),
};

/** Trackers that plugins bring under the names in `--report-to`. */
async function pluginTrackers(values: Record<string, unknown>, args: Record<string, unknown>): Promise<Tracker[]> {
  const registry = await openRegistry(values['plugin'] as string[] | undefined);
  const names = [args['reportTo'] ?? []].flat() as string[];
  return Promise.all(names.filter((name) => registry.has('trackers', name)).map((name) => registry.lookup('trackers', name)()));
}

async function openStream(values: Record<string, unknown>, args: Record<string, unknown>): Promise<RowStream> {
  const { dataset, shuffleBufferSize } = values as { dataset?: string; shuffleBufferSize: number };
  if (dataset === undefined) throw new EspalierError('usage', '--dataset-streaming is given without --dataset', { fix: 'give a file, a folder, or a pattern such as corpus/*.jsonl' });
  if (!((args['maxSteps'] as number) > 0)) throw new EspalierError('usage', `--dataset-streaming is given and --max-steps is ${String(args['maxSteps'])}`, { fix: 'give --max-steps: the length of a stream is not known' });
  const { files, load } = await filesByRef(dataset, hubOptions(values));
  return streamFiles(files, { ...load, seed: (args['dataSeed'] ?? args['seed']) as number, bufferSize: shuffleBufferSize, shuffle: args['trainSamplingStrategy'] !== 'sequential', textField: args['datasetTextField'] as string });
}

/** Rows without a column, for ever. */
const emptyRows = (name: string): Dataset => ({ name, size: Infinity, row: () => ({}), origin: () => ({}) });

/** The fields of the configuration's schema that have another flag here. */
const ownNames = ['resumeFromCheckpoint'];

export interface TrainSetup {
  values: Record<string, unknown>;
  /** Values of the algorithm's own configuration. */
  args: Record<string, unknown>;
  model: string;
  modelArgs: ModelArgumentsInput;
  train: Dataset;
  /** The rows, in place of `train`, when they come as a stream. */
  stream: RowStream | undefined;
  evaluation: Dataset | undefined;
  callbacks: readonly TrainerCallback[];
  /** Those of plugins that `--report-to` names. */
  trackers: readonly Tracker[];
  signal: AbortSignal;
}

export interface TrainCommandSpec<Shape extends z.ZodRawShape> {
  name: string;
  summary: string;
  /** The schema's fields: TRL's names. */
  config: Shape;
  /** Flags of this command alone. */
  more?: z.ZodRawShape;
  whole?: readonly string[];
  rows: OpenRowsOptions & { more?: Record<string, unknown> };
  /** Rows may come as a stream: `--dataset-streaming`. */
  streams?: boolean;
  /** `--dataset` may name a curriculum. */
  curricula?: boolean;
  notes?: string;
  /** Metrics that the progress bar shows, where the step has them. */
  shown: readonly string[];
  /** Checks the configuration before anything is opened. */
  check(args: Record<string, unknown>): void;
  create(setup: TrainSetup): Promise<{ trainer: AnyTrainer; evaluate?: (onProgress: (done: number, total: number) => void) => Promise<Metrics> }>;
}

function modelArgsOf(values: Record<string, unknown>): ModelArgumentsInput {
  const { loraRank, loraAlpha, loraTargetModules, usePeft, backend, bf16, precision, samplerWeights } = values as { samplerWeights?: 'int8'; bf16?: boolean; loraRank?: number; loraAlpha?: number; loraTargetModules?: [string, ...string[]]; usePeft?: boolean; backend?: 'native'; precision?: 'bf16' | 'fp32' };
  if (bf16 !== undefined && precision !== undefined && bf16 !== (precision === 'bf16')) throw new EspalierError('usage', `--precision is ${precision} and --bf16 is ${bf16}`, { fix: 'give one of them' });
  const lora = usePeft === true || loraRank !== undefined;
  if (!lora && (loraAlpha !== undefined || loraTargetModules !== undefined)) throw new EspalierError('usage', `--lora-${loraAlpha === undefined ? 'target-modules' : 'alpha'} is given without adapters`, { fix: 'add --lora-rank, or --use-peft' });
  return {
    ...(backend === undefined ? {} : { backend }),
    ...(precision === undefined ? (bf16 === undefined ? {} : { bf16 }) : { bf16: precision === 'bf16' }),
    ...(samplerWeights === undefined ? {} : { samplerWeights }),
    ...(lora ? { usePeft: true, ...(loraRank === undefined ? {} : { loraR: loraRank }), ...(loraAlpha === undefined ? {} : { loraAlpha }), ...(loraTargetModules === undefined ? {} : { loraTargetModules }) } : {}),
  };
}

const shortNames: Readonly<Record<string, string>> = { learning_rate: 'lr', 'completions/mean_length': 'length' };
const briefly = (metrics: Metrics, names: readonly string[]): string => names.filter((name) => Number.isFinite(metrics[name])).map((name) => `${shortNames[name] ?? name} ${formatNumber(metrics[name])}`).join(' · ');

/** Builds `espalier sft`, `grpo`, `rpt`: one way to read flags, resume, show progress, stop and report. */
export function trainCommand<Shape extends z.ZodRawShape>(spec: TrainCommandSpec<Shape>): Command {
  const config = Object.fromEntries(Object.entries(spec.config).filter(([name]) => !ownNames.includes(name))) as z.ZodRawShape;
  const shape: z.ZodRawShape = { ...commonFields, ...(spec.streams ? streamFields : {}), ...spec.more, ...config };
  return buildCommand({
    name: spec.name,
    summary: spec.summary,
    shape,
    help: { ...fieldHelp, ...algorithmHelp },
    whole: [...(spec.whole ?? []), 'taskTemplate'],
    config: true,
    interrupt: 'stopping: the run is being saved',
    notes: `${spec.notes ? `${spec.notes} ` : ''}Rows, rewards and flags have TRL's names. With --json: {"output_dir", "model", "steps", "seconds", "metrics", "eval"}: "model" is a folder that transformers loads.`,
    complete: (given) => recallRun(spec.name, given),
    run: (values, context) => train(spec, config, values as Record<string, unknown>, context),
  });
}

async function train<Shape extends z.ZodRawShape>(spec: TrainCommandSpec<Shape>, config: z.ZodRawShape, values: Record<string, unknown>, context: CommandContext): Promise<void> {
  const { output, signal } = context;
  const args = Object.fromEntries(Object.keys(config).map((name) => [name, values[name]]).filter(([, value]) => value !== undefined)) as Record<string, unknown>;
  const schedule = args['lrSchedulerKwargs'] as Record<string, unknown> | undefined;
  if (schedule) args['lrSchedulerKwargs'] = Object.fromEntries(Object.entries(schedule).map(([name, value]) => [camelCase(name), value]));
  spec.check(args);
  if (values['dryRun'] === true) beginDryRun();
  const modelArgs = modelArgsOf(values);
  if (signal.aborted) throw new EspalierError('aborted', 'stopped before the first step');
  const stream = values['datasetStreaming'] === true ? await openStream(values, args) : undefined;
  const onNotice = (message: string) => output.note(`notice: ${message}`);
  const environment = values['environment'] as string | undefined;
  const given = values['dataset'] !== undefined || values['task'] !== undefined;
  // An environment says itself what is asked: its rows may have any columns, or be none at all.
  const named = values['dataset'];
  const rows = stream ? datasetOf([], stream.name) : spec.curricula === true && typeof named === 'string' && isCurriculumRef(named) ? drawnRows(named) : environment !== undefined && !given ? emptyRows(environment) : await openData(values, { ...spec.rows, ...(environment === undefined ? {} : { accepted: undefined }), onNotice });
  if (!Number.isFinite(rows.size) && !((args['maxSteps'] as number) > 0)) throw new EspalierError('usage', `${rows.name} has no end and --max-steps is ${String(args['maxSteps'])}`, { fix: 'give --max-steps, or --task-size' });
  const accepted = environment === undefined ? spec.rows.accepted : undefined;
  const evaluation =
    values['evalDataset'] === undefined ? undefined : await openRows(values['evalDataset'] as string, { ...(accepted ? { accepted } : {}), ...(values['evalLimit'] === undefined ? {} : { limit: values['evalLimit'] as number }), endlessSize: 512, task: spec.rows.more ?? {}, onNotice });

  const trackers = await pluginTrackers(values, args);

  let progress: Progress | undefined;
  const callback: TrainerCallback = {
    async onTrainBegin({ step, totalSteps, outputDir }) {
      await rememberRun(outputDir, spec.name, context.given);
      output.note(`${step > 0 ? `resuming at step ${step}` : 'run'} in ${outputDir}`);
      progress = startProgress(spec.name, { unit: 'step', total: totalSteps, start: step });
    },
    onStep: ({ step }, metrics) => progress?.update(step, briefly(metrics, spec.shown)),
    onEvaluate: ({ step }, metrics) => progress?.note(`step ${step} · ${briefly(metrics, Object.keys(metrics).filter((name) => !name.includes('completions/')))}`),
    onNotice: (_, { name, level, message, action }) => (progress ?? output).note(`${action === undefined ? level : `alarm (${action})`}: ${name}: ${message}`),
    onEnd: () => progress?.stop(),
  };
  const { trainer, evaluate } = await spec.create({ values, args, model: values['model'] as string, modelArgs, train: rows, stream, evaluation, callbacks: [callback], trackers, signal });
  try {
    if (values['dryRun'] === true) return await reportPlan(await trainer.plan(), values, output);
    const resume = values['resume'] as boolean | string;
    const result = await trainer.train({ signal, ...(resume === false ? {} : { resume }) });
    let held: Metrics | null = Object.keys(result.evalMetrics).length > 0 ? withoutPrefix(result.evalMetrics) : null;
    if (evaluation && evaluate && (!result.stopped || result.rolledBack)) {
      let bar: Progress | null = null; // what is counted, and how much of it there is, the objective knows: completions, or positions of texts
      held = await evaluate((done, total) => (bar ??= startProgress('eval', { unit: 'completion', total })).update(done)).finally(() => bar?.stop());
    }
    let model = result.checkpoint;
    if (model === null) {
      model = join(result.outputDir, 'model');
      await trainer.saveModel(model);
    }
    await output.result({ output_dir: result.outputDir, model, steps: result.step, seconds: result.trainSeconds, metrics: result.metrics, ...(held ? { eval: held } : {}), ...(result.best ? { best: result.best } : {}), ...('control' in result ? { control: result.control } : {}), ...(result.stopped ? { stopped: true } : {}), ...(result.alarms.length > 0 ? { alarms: result.alarms } : {}), ...(result.rolledBack ? { rolled_back: result.rolledBack } : {}) });
    output.line(`${result.step} steps in ${result.trainSeconds.toFixed(1)} s · ${briefly(result.metrics, spec.shown)}`);
    if (result.rolledBack) output.line(`rolled back from step ${result.rolledBack.from} to step ${result.rolledBack.to} (${result.rolledBack.alarm})`);
    if (held) output.line(`held out: ${briefly(held, Object.keys(held))}`);
    output.line(`model: ${model}`);
  } catch (error) {
    throw withHint(error, args as Partial<TrainingArguments>, spec.name);
  } finally {
    progress?.stop();
    await trainer.close();
  }
}

/** Stands for the rows of a curriculum, which the trainer draws itself. */
function drawnRows(ref: string): Dataset {
  const [row] = curriculumByRef(ref).next(1); // wrong options show at once
  return { name: ref, size: Infinity, row: () => row, origin: () => ({}) };
}

const withoutPrefix = (metrics: Metrics): Metrics => Object.fromEntries(Object.entries(metrics).map(([name, value]) => [name.replace(/^eval_/, ''), value]));

/** A run that stopped says how to go on, in this command's words. */
function withHint(error: unknown, args: Partial<TrainingArguments>, command: string): unknown {
  if (!isEspalierError(error) || error.code !== 'no_space' || !args.outputDir || !existsSync(join(args.outputDir, 'checkpoints'))) return error;
  return new EspalierError('no_space', error.message, { fix: `free some, then: espalier ${command} --resume --output-dir ${args.outputDir}`, cause: error });
}
