import { onlineArguments, parseArguments, roundGeometry, trainingArguments } from '@espalier/trainer';
import { EspalierError } from '@espalier/spec';
import { z } from 'zod';
import { cpoLossTypes, resolveCPOOptions } from './cpo-loss';
import { dpoLossTypes, fDivergenceTypes, resolveDPOOptions } from './dpo-loss';
import { ktoLossTypes, resolveKTOOptions } from './kto-loss';

const count = z.int().positive();
const optional = <T extends z.ZodType>(schema: T) => schema.nullish().transform((value) => value ?? undefined);
const learningRate = (rate: number) => z.number().min(0).default(rate);
const maxLength = z.int().min(2).nullable().default(1024);
/** Models here have no dropout: TRL's default is what happens. */
const disableDropout = z.literal(true, 'there is no dropout to keep').default(true);

/** Where the log-probs of the reference come from. */
const referenceFields = {
  /** Compute the reference's log-probs of all rows before training, and keep no reference during it. */
  precomputeRefLogProbs: z.boolean().default(false),
  /** Rows of a batch of that pass. Default: those of training, or of evaluation. */
  precomputeRefBatchSize: optional(count),
  /** Move the reference towards the policy now and then (TR-DPO, 2404.09656). */
  syncRefModel: z.boolean().default(false),
  /** α of ref ← α·policy + (1 − α)·ref. */
  refModelMixupAlpha: z.number().min(0).max(1).default(0.6),
  /** Optimiser steps from one move to the next. */
  refModelSyncSteps: count.default(512),
} as const;

/** The fields that DPO adds to the training arguments: TRL's `DPOConfig` in camelCase, with its defaults. */
export const dpoFields = {
  /** Tokens that a prompt and a completion may have together. `null`: no limit. */
  maxLength,
  /** Which end of a sequence that is too long is kept. */
  truncationMode: z.enum(['keep_start', 'keep_end']).default('keep_start'),
  /** One loss, or several that are added (MPO). */
  lossType: z.union([z.enum(dpoLossTypes), z.array(z.enum(dpoLossTypes)).nonempty()], { error: `must be one or more of ${dpoLossTypes.join(', ')}` }).transform((value): (typeof dpoLossTypes)[number][] => (typeof value === 'string' ? [value] : [...value])).default(['sigmoid']),
  lossWeights: optional(z.array(z.number())),
  ldAlpha: optional(z.number().min(0).max(1)),
  fDivergenceType: z.enum(fDivergenceTypes).default('reverse_kl'),
  fAlphaDivergenceCoef: z.number().default(0.5),
  labelSmoothing: z.number().min(0).lt(1).default(0),
  beta: z.number().positive().default(0.1),
  useWeighting: z.boolean().default(false),
  discopopTau: z.number().positive().default(0.05),
  disableDropout,
  ...referenceFields,
} as const;
export const dpoConfig = trainingArguments.extend({ ...dpoFields, learningRate: learningRate(1e-6) });
export type DPOConfig = z.output<typeof dpoConfig>;
export type DPOConfigInput = z.input<typeof dpoConfig>;

/**
 * Validates a configuration.
 * @throws EspalierError `bad_config` that names every wrong field
 */
export function parseDPOConfig(input: DPOConfigInput = {}): DPOConfig {
  const config = parseArguments(dpoConfig, input, 'DPO');
  resolveDPOOptions(config);
  checkReference(config);
  return config;
}

/** The fields that KTO adds to the training arguments: TRL's `KTOConfig` in camelCase, with its defaults. */
export const ktoFields = {
  maxLength,
  lossType: z.enum(ktoLossTypes).default('kto'),
  beta: z.number().positive().default(0.1),
  desirableWeight: z.number().min(0).default(1),
  undesirableWeight: z.number().min(0).default(1),
  /** Order of the rows. `kto` pairs completions with their neighbours and needs `sequential`. */
  trainSamplingStrategy: z.enum(['sequential', 'random']).default('sequential'),
  disableDropout,
  ...referenceFields,
} as const;
export const ktoConfig = trainingArguments.extend({ ...ktoFields, learningRate: learningRate(1e-6) });
export type KTOConfig = z.output<typeof ktoConfig>;
export type KTOConfigInput = z.input<typeof ktoConfig>;

/** @throws EspalierError `bad_config` that names every wrong field */
export function parseKTOConfig(input: KTOConfigInput = {}): KTOConfig {
  const config = parseArguments(ktoConfig, input, 'KTO');
  resolveKTOOptions(config);
  checkReference(config);
  if (config.lossType === 'kto' && config.trainSamplingStrategy !== 'sequential') {
    throw new EspalierError('bad_config', `\`train_sampling_strategy\` ${config.trainSamplingStrategy} breaks the pairs from which \`loss_type\` kto estimates the KL`, { fix: 'sequential, or `loss_type` apo_zero_unpaired' });
  }
  if (config.lossType === 'kto' && config.perDeviceTrainBatchSize < 2) {
    throw new EspalierError('bad_config', `\`per_device_train_batch_size\` ${config.perDeviceTrainBatchSize}: \`loss_type\` kto estimates the KL from the other completions of a batch`, { fix: '2 or more, or `loss_type` apo_zero_unpaired' });
  }
  return config;
}

/** The fields that CPO adds to the training arguments: TRL's `CPOConfig` in camelCase, with its defaults. */
export const cpoFields = {
  maxLength,
  /** `alphapo` is `simpo` with `cpoAlpha` 0. */
  lossType: z.enum(cpoLossTypes).default('sigmoid'),
  beta: z.number().positive().default(0.1),
  labelSmoothing: z.number().min(0).lt(1).default(0),
  cpoAlpha: z.number().min(0).default(1),
  simpoGamma: z.number().default(0.5),
  alpha: z.number().default(0),
  disableDropout,
} as const;
export const cpoConfig = trainingArguments.extend({ ...cpoFields, learningRate: learningRate(1e-6) });
export type CPOConfig = z.output<typeof cpoConfig>;
export type CPOConfigInput = z.input<typeof cpoConfig>;

/** @throws EspalierError `bad_config` that names every wrong field */
export function parseCPOConfig(input: CPOConfigInput = {}): CPOConfig {
  const config = parseArguments(cpoConfig, input, 'CPO');
  resolveCPOOptions(config);
  return config;
}

/** The fields that ORPO adds to the training arguments: TRL's `ORPOConfig` in camelCase, with its defaults. */
export const orpoFields = {
  maxLength,
  /** Weight of the odds-ratio term. */
  beta: z.number().min(0).default(0.1),
  disableDropout,
} as const;
export const orpoConfig = trainingArguments.extend({ ...orpoFields, learningRate: learningRate(1e-6) });
export type ORPOConfig = z.output<typeof orpoConfig>;
export type ORPOConfigInput = z.input<typeof orpoConfig>;

/** @throws EspalierError `bad_config` that names every wrong field */
export function parseORPOConfig(input: ORPOConfigInput = {}): ORPOConfig {
  return parseArguments(orpoConfig, input, 'ORPO');
}

/** What online preference learning adds to generation: TRL's `OnlineDPOConfig` in camelCase, with its defaults; the reference's moves are ours. */
export const onlineDpoFields = {
  /** Prompts a micro-batch: twice as many completions. */
  perDeviceTrainBatchSize: count.default(8),
  /** Completions a prompt: a pair. */
  numGenerations: z.literal(2, 'a pair is two completions').default(2),
  maxNewTokens: count.default(64),
  /** The same by the name that other on-policy trainers have for it. */
  maxCompletionLength: optional(count),
  /** Tokens that a prompt and a completion may have together; what is too much is cut from the prompt's left. */
  maxLength: count.default(512),
  temperature: z.number().positive('a sampled policy needs a temperature above 0').default(0.9),
  /** Taken off the reward of a completion that did not end by itself. */
  missingEosPenalty: optional(z.number().positive('must be positive: it is subtracted')),
  /** A list: one an epoch, the last for all that follow. */
  beta: z.union([z.number().positive(), z.array(z.number().positive()).nonempty()]).default(0.1),
  lossType: z.enum(['sigmoid', 'ipo']).default('sigmoid'),
  disableDropout,
  /** Move the reference towards the policy now and then: iterative DPO, where every iteration is held to the one before. */
  syncRefModel: z.boolean().default(false),
  refModelMixupAlpha: z.number().min(0).max(1).default(1),
  refModelSyncSteps: count.default(512),
} as const;
export const onlineDpoConfig = onlineArguments.extend({ ...onlineDpoFields, learningRate: learningRate(5e-7) });
export type OnlineDPOConfig = z.output<typeof onlineDpoConfig> & { maxCompletionLength: number };
export type OnlineDPOConfigInput = z.input<typeof onlineDpoConfig>;

/**
 * Validates a configuration.
 * @throws EspalierError `bad_config` that names every wrong field
 */
export function parseOnlineDPOConfig(input: OnlineDPOConfigInput = {}): OnlineDPOConfig {
  const config = parseArguments(onlineDpoConfig, input, 'online DPO');
  const complete = { ...config, maxCompletionLength: config.maxCompletionLength ?? config.maxNewTokens };
  if (complete.maxCompletionLength >= complete.maxLength) {
    throw new EspalierError('bad_config', `\`max_new_tokens\` ${complete.maxCompletionLength} leaves no room for a prompt in \`max_length\` ${complete.maxLength}`, { fix: 'a larger `max_length`' });
  }
  roundGeometry(completionsOf(complete), 1);
  return complete;
}

/** Self-play (SPIN, 2401.01335): the fields of online DPO that it has, and its iterations. */
export const spinFields = {
  perDeviceTrainBatchSize: count.default(8),
  numGenerations: z.literal(1, 'each demonstration meets one completion of the policy').default(1),
  maxNewTokens: count.default(256),
  maxCompletionLength: optional(count),
  maxLength: count.default(1024),
  /** λ of the paper. */
  beta: z.number().positive().default(0.1),
  lossType: z.enum(['sigmoid', 'hinge']).default('sigmoid'),
  /** Optimiser steps on the completions of one iterate; then the policy becomes its own opponent and reference. */
  iterationSteps: count.default(100),
  /** Passes over the pairs of an iteration. */
  numIterations: count.default(1),
  disableDropout,
} as const;
export const spinConfig = onlineArguments.omit({ generationBatchSize: true, stepsPerGeneration: true, dynamicSampling: true, maxResamples: true }).extend({ ...spinFields, learningRate: learningRate(5e-7) });
export type SPINConfig = z.output<typeof spinConfig> & { maxCompletionLength: number };
export type SPINConfigInput = z.input<typeof spinConfig>;

/** @throws EspalierError `bad_config` that names every wrong field */
export function parseSPINConfig(input: SPINConfigInput = {}): SPINConfig {
  const config = parseArguments(spinConfig, input, 'SPIN');
  const complete = { ...config, maxCompletionLength: config.maxCompletionLength ?? config.maxNewTokens };
  if (complete.maxCompletionLength >= complete.maxLength) {
    throw new EspalierError('bad_config', `\`max_new_tokens\` ${complete.maxCompletionLength} leaves no room for a prompt in \`max_length\` ${complete.maxLength}`, { fix: 'a larger `max_length`' });
  }
  if (complete.iterationSteps % complete.numIterations !== 0) {
    throw new EspalierError('bad_config', `\`iteration_steps\` ${complete.iterationSteps} is not divisible by \`num_iterations\` ${complete.numIterations}`, { fix: 'whole passes over the pairs of an iteration' });
  }
  return complete;
}

/** Batch sizes in completions, as the online loop counts them. */
export function completionsOf<Config extends { perDeviceTrainBatchSize: number }>(config: Config): Config {
  return { ...config, perDeviceTrainBatchSize: 2 * config.perDeviceTrainBatchSize };
}

function checkReference({ syncRefModel, precomputeRefLogProbs }: Pick<DPOConfig, 'syncRefModel' | 'precomputeRefLogProbs'>): void {
  if (syncRefModel && precomputeRefLogProbs) {
    throw new EspalierError('bad_config', '`sync_ref_model` moves the reference, and `precompute_ref_log_probs` takes it to stand still', { fix: 'one of them' });
  }
}

