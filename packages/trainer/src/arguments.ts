import { EspalierError } from '@espalier/spec';
import { z } from 'zod';

/** Learning-rate schedules, by the names that `transformers` gives them. */
export const schedulerNames = [
  'linear',
  'cosine',
  'cosine_with_restarts',
  'cosine_with_min_lr',
  'polynomial',
  'constant',
  'constant_with_warmup',
  'inverse_sqrt',
  'warmup_stable_decay',
] as const;
export type SchedulerName = (typeof schedulerNames)[number];

const count = z.int().positive();
const fraction = z.number().min(0).max(1);
const betaOfAdam = z.number().min(0).lt(1);
const strategy = z.enum(['no', 'steps', 'epoch']);
const optional = <T extends z.ZodType>(schema: T) => schema.nullish().transform((value) => value ?? undefined);
const parameterGroup = z.strictObject({
  match: z.string().min(1).refine(isRegularExpression, 'must be a regular expression'),
  learningRateScale: z.number().min(0).optional(),
  weightDecay: z.number().min(0).optional(),
});

function isRegularExpression(source: string): boolean {
  try {
    new RegExp(source);
    return true;
  } catch {
    return false;
  }
}

/**
 * What every trainer takes: the fields of `transformers.TrainingArguments` 5 with TRL's overrides, in camelCase, with their defaults.
 * Algorithms extend it: `trainingArguments.extend({ beta: z.number().default(0) })`. A field that is not built here is refused by name.
 *
 * `perDeviceTrainBatchSize` counts rows for offline trainers and completions for online ones. `warmupSteps` below 1 is a share of all steps.
 */
export const trainingArguments = z.strictObject({
  /** Folder of the run. Default: a new one, `runs/<name>-<time>`. */
  outputDir: z.string().min(1).optional(),
  /** Start over in a folder that holds a run already: the old run's files are replaced. */
  overwriteOutputDir: z.boolean().default(false),
  runName: z.string().min(1).optional(),
  /** `true`: the newest complete checkpoint of `outputDir`, or a start when there is none; a path: that checkpoint. */
  resumeFromCheckpoint: z.union([z.boolean(), z.string().min(1)]).default(false),

  perDeviceTrainBatchSize: count.default(8),
  perDeviceEvalBatchSize: count.default(8),
  gradientAccumulationSteps: count.default(1),
  numTrainEpochs: z.number().positive().default(3),
  /** Optimiser steps in all; overrides `numTrainEpochs` when positive. */
  maxSteps: z.int().default(-1),
  /** The order of the rows in training: shuffled by the seed, or as they stand. */
  trainSamplingStrategy: z.enum(['random', 'sequential']).default('random'),
  /** Drop the last incomplete batch of an epoch. */
  dataloaderDropLast: z.boolean().default(false),

  learningRate: z.number().min(0).default(5e-5),
  lrSchedulerType: z.enum(schedulerNames).default('linear'),
  /** What a schedule takes besides: `numCycles`, `minLr`, `minLrRate`, `power`, `lrEnd`, `timescale`, `numDecaySteps`, `decayType`. */
  lrSchedulerKwargs: z.record(z.string(), z.union([z.number(), z.string()])).default({}),
  warmupSteps: z.number().min(0).default(0),
  /** Share of all steps; used when `warmupSteps` is 0. */
  warmupRatio: fraction.default(0),
  weightDecay: z.number().min(0).default(0),
  adamBeta1: betaOfAdam.default(0.9),
  adamBeta2: betaOfAdam.default(0.999),
  adamEpsilon: z.number().positive().default(1e-8),
  /** 0: not clipped. */
  maxGradNorm: z.number().min(0).default(1),

  /**
   * Compute each of the model's blocks again in the backward pass in place of keeping it: less memory, a third more arithmetic, the same numbers. (TRL turns it
   * on by default, Espalier does not.)
   */
  gradientCheckpointing: z.boolean().default(false),

  loggingStrategy: strategy.default('steps'),
  loggingSteps: count.default(10),
  loggingFirstStep: z.boolean().default(false),
  /** Default: `steps` when `evalSteps` is given, else `no`. */
  evalStrategy: strategy.optional(),
  /** Default: `loggingSteps`. */
  evalSteps: count.optional(),
  evalOnStart: z.boolean().default(false),
  /** `best`: after each evaluation that is the best so far by `metricForBestModel`. */
  saveStrategy: z.enum(['no', 'steps', 'epoch', 'best']).default('steps'),
  saveSteps: count.default(500),
  /** Older checkpoints are removed beyond this many; the best one is kept besides. */
  saveTotalLimit: count.optional(),
  /** Metric whose best checkpoint the link `best` names. Default: `eval_loss` offline, `eval_reward` online. */
  metricForBestModel: z.string().min(1).optional(),
  /** Default: false for a metric whose name ends with `loss`, else true. */
  greaterIsBetter: z.boolean().optional(),
  loadBestModelAtEnd: z.boolean().default(false),
  /** End after this many evaluations in a row without an improvement of `metricForBestModel`. */
  earlyStoppingPatience: optional(count),
  /** What counts as an improvement: more than this. */
  earlyStoppingThreshold: z.number().min(0).default(0),

  /** Where metrics go besides `metrics.jsonl`: `none`, `all`, `tensorboard`, or names of trackers that the trainer was given. */
  reportTo: z.union([z.string().min(1), z.array(z.string().min(1))]).default('none'),
  /** Folder of TensorBoard's event files. Default: `tensorboard` in the run's. */
  loggingDir: z.string().min(1).optional(),

  /** Parameters that are trained otherwise: `{ match, learningRateScale, weightDecay }`, by a regular expression on their names. */
  parameterGroups: optional(z.array(parameterGroup)),

  seed: z.int().min(0).max(0xffffffff).default(42),
  /** Seed of the order of the rows. Default: `seed`. */
  dataSeed: z.int().min(0).max(0xffffffff).optional(),
});

/** {@link trainingArguments} after validation. */
export type TrainingArguments = z.output<typeof trainingArguments>;
/** {@link trainingArguments} as a user writes them: every field may be left out. */
export type TrainingArgumentsInput = z.input<typeof trainingArguments>;

/** How the model is opened: TRL's `ModelConfig`, in camelCase, and the choice of the backend. */
export const modelArguments = z.strictObject({
  /** `native`, `tensorflow-gpu`, `tensorflow`, `wasm`, `cpu`. Default: the best that is here. */
  backend: z.enum(['native', 'tensorflow-gpu', 'tensorflow', 'wasm', 'cpu']).optional(),
  /** Matrix products in bf16 (`true`) or fp32 (`false`). Default: bf16 where the processor has instructions for it. */
  bf16: z.boolean().optional(),
  /** `int8`: generate with linear layers in eight bits, on the backend `native`. Default: in the precision of matrix products. */
  samplerWeights: z.literal('int8').optional(),
  /** Train low-rank adapters in place of all weights. */
  usePeft: z.boolean().default(false),
  loraR: count.default(16),
  loraAlpha: z.number().positive().default(32),
  /** Names of the linear layers. Default: all of the attention and of the MLP. */
  loraTargetModules: z.array(z.string().min(1)).nonempty().optional(),
});
export type ModelArguments = z.output<typeof modelArguments>;
export type ModelArgumentsInput = z.input<typeof modelArguments>;

/** `perDeviceTrainBatchSize` → `per_device_train_batch_size`: how TRL, YAML files and the command line write a field. */
export function snakeCase(field: string): string {
  return field.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`);
}

/**
 * Validates arguments against a schema such as {@link trainingArguments}; the error names every wrong field, what was found and what would do.
 * @throws EspalierError `bad_config`
 * @example
 * const args = parseArguments(trainingArguments, { learningRate: 1e-5 });
 */
export function parseArguments<Schema extends z.ZodType>(schema: Schema, input: unknown, what = 'training arguments'): z.output<Schema> {
  const result = schema.safeParse(input ?? {});
  if (result.success) return result.data;
  const lines = result.error.issues.map((issue) => {
    if (issue.code === 'unrecognized_keys') return `unknown field${issue.keys.length > 1 ? 's' : ''} ${issue.keys.map((k) => `\`${snakeCase(k)}\``).join(', ')}`;
    const found = issue.path.reduce<unknown>((value, key) => (typeof value === 'object' && value !== null ? (value as Record<PropertyKey, unknown>)[key] : undefined), input);
    return `\`${issue.path.map((key) => snakeCase(String(key))).join('.')}\`: ${issue.message}${found === undefined ? '' : `, found ${JSON.stringify(found)}`}`;
  });
  throw new EspalierError('bad_config', `${what}: ${lines.join('; ')}`);
}

/** Optimiser steps of warm-up out of `totalSteps`: `warmupSteps` (below 1: a share), else `warmupRatio`. */
export function resolveWarmupSteps(args: Pick<TrainingArguments, 'warmupSteps' | 'warmupRatio'>, totalSteps: number): number {
  if (args.warmupSteps >= 1) return Math.floor(args.warmupSteps);
  return Math.ceil(totalSteps * (args.warmupSteps || args.warmupRatio));
}
