import { importanceSamplingLevels, multiObjectiveAggregations, scaleRewardsModes } from '@espalier/objectives';
import { EspalierError } from '@espalier/spec';
import { parseArguments, trainingArguments, type TrainingArguments } from '@espalier/trainer';
import { z } from 'zod';
import { lossTypes } from './loss';

const count = z.int().positive();
const nonNegative = z.number().min(0);
const optional = <T extends z.ZodType>(schema: T) => schema.nullish().transform((value) => value ?? undefined);

/** The fields that GRPO adds to the training arguments: TRL's `GRPOConfig` in camelCase, with its defaults. */
export const grpoFields = {
  // Generation
  /** Completions a prompt. */
  numGenerations: z.int().min(2, 'a group needs at least 2 completions to compare').default(8),
  maxCompletionLength: count.default(512),
  /** Completions that are generated together. Default: per_device_train_batch_size × stepsPerGeneration. */
  generationBatchSize: optional(count),
  /** Micro-batches that are trained on one generation. Default: `gradientAccumulationSteps`. */
  stepsPerGeneration: optional(count),
  /** The policy's temperature: sampling and log-probs use the same. */
  temperature: z.number().positive('a sampled policy needs a temperature above 0').default(1),
  topP: z.number().gt(0).max(1).default(1),
  /** 0: off. */
  topK: z.int().min(0).default(0),
  minP: optional(z.number().min(0).max(1)),
  repetitionPenalty: z.number().positive().default(1),
  shuffleDataset: z.boolean().default(true),
  logCompletions: z.boolean().default(false),

  // Rewards
  /** One a reward function, in their order. Default: all 1. */
  rewardWeights: optional(z.array(z.number())),
  /** `true` is `group`, `false` is `none`. */
  scaleRewards: z.union([z.enum(scaleRewardsModes), z.boolean()]).transform((v) => (v === true ? 'group' : v === false ? 'none' : v)).default('group'),
  multiObjectiveAggregation: z.enum(multiObjectiveAggregations).default('sum_then_normalize'),
  /** A completion that was cut off at `maxCompletionLength` is not trained on. */
  maskTruncatedCompletions: z.boolean().default(false),

  // Loss
  lossType: z.enum(lossTypes).default('dapo'),
  /** KL against the first weights. 0: no reference is kept. */
  beta: nonNegative.default(0),
  useBiasCorrectionKl: z.boolean().default(true),
  /** Optimisation passes over one generation. */
  numIterations: count.default(1),
  epsilon: nonNegative.default(0.2),
  /** Default: `epsilon`. For `cispo` it is the cap on the ratio itself. */
  epsilonHigh: optional(nonNegative),
  delta: optional(z.number().positive()),
  importanceSamplingLevel: z.enum(importanceSamplingLevels).default('token'),
  topEntropyQuantile: z.number().min(0).max(1).default(1),
  entropyCoef: z.number().default(0),
  offPolicyMaskThreshold: optional(z.number()),
  sapoTemperaturePos: z.number().positive().default(1),
  sapoTemperatureNeg: z.number().positive().default(1.05),
  vespoKPos: z.number().default(2),
  vespoLambdaPos: z.number().default(3),
  vespoKNeg: z.number().default(3),
  vespoLambdaNeg: z.number().default(2),

  // Ours
  /**
   * Where the log-probs of the old policy come from when the loss needs them. `recompute`: a forward pass after generation (TRL). `sampler`: what
   * the sampler reported, which saves the pass and takes its rounding into the ratio. `auto`: `recompute` when a generation serves more than
   * one optimiser step, else none, and the ratio is exactly 1.
   */
  oldLogps: z.enum(['auto', 'recompute', 'sampler']).default('auto'),
} as const;

/** All fields of a GRPO run: {@link grpoFields} and the training arguments, with TRL's learning rate for GRPO. */
export const grpoConfig = trainingArguments.extend({ ...grpoFields, learningRate: z.number().min(0).default(1e-6) });

export type GRPOConfig = z.output<typeof grpoConfig>;
/** As a user writes it: every field may be left out. */
export type GRPOConfigInput = z.input<typeof grpoConfig>;

/**
 * Validates a configuration, its batch sizes included.
 * @throws EspalierError `bad_config` that names every wrong field
 */
export function parseGRPOConfig(input: GRPOConfigInput = {}): GRPOConfig {
  const config = parseArguments(grpoConfig, input, 'GRPO');
  batchGeometry(config);
  return config;
}

/** How completions are divided among generations, micro-batches and optimiser steps. */
export interface BatchGeometry {
  /** Completions a micro-batch. */
  microBatchSize: number;
  /** Micro-batches a generation. */
  stepsPerGeneration: number;
  /** Completions a generation. */
  generationBatchSize: number;
  /** Prompts a generation. */
  promptsPerGeneration: number;
  /** Optimiser steps on one generation, all iterations together. */
  optimStepsPerGeneration: number;
  /** Whether the weights change while one generation is trained on, so that π_old is not the current policy. */
  offPolicy: boolean;
}

type GeometryFields = Pick<GRPOConfig, 'numGenerations' | 'generationBatchSize' | 'stepsPerGeneration' | 'numIterations'> & Pick<TrainingArguments, 'perDeviceTrainBatchSize' | 'gradientAccumulationSteps'>;

/**
 * Works out {@link BatchGeometry} as TRL does: `perDeviceTrainBatchSize` counts completions, and a generation holds whole groups.
 * @throws EspalierError `bad_config` with values that would do
 */
export function batchGeometry(config: GeometryFields): BatchGeometry {
  const { perDeviceTrainBatchSize: size, gradientAccumulationSteps: accumulation, numGenerations } = config;
  if (config.generationBatchSize !== undefined && config.stepsPerGeneration !== undefined) {
    throw new EspalierError('bad_config', '`generation_batch_size` and `steps_per_generation` were both given', { fix: 'one of them; the other follows' });
  }
  if (config.generationBatchSize !== undefined && config.generationBatchSize % size !== 0) {
    throw indivisible('generation_batch_size', config.generationBatchSize, 'per_device_train_batch_size', size, size);
  }
  const stepsPerGeneration = config.generationBatchSize !== undefined ? config.generationBatchSize / size : (config.stepsPerGeneration ?? accumulation);
  const generationBatchSize = size * stepsPerGeneration;
  if (generationBatchSize % numGenerations !== 0) {
    if (config.generationBatchSize !== undefined) throw indivisible('generation_batch_size', generationBatchSize, 'num_generations', numGenerations, lcm(size, numGenerations));
    const steps = stepsPerGeneration === 1 ? '' : ` times ${stepsPerGeneration} steps a generation`;
    throw indivisible('per_device_train_batch_size', size, 'num_generations', numGenerations, numGenerations / gcd(numGenerations, stepsPerGeneration), steps);
  }
  const perGeneration = stepsPerGeneration * config.numIterations;
  return {
    microBatchSize: size,
    stepsPerGeneration,
    generationBatchSize,
    promptsPerGeneration: generationBatchSize / numGenerations,
    optimStepsPerGeneration: Math.max(1, Math.ceil(perGeneration / accumulation)),
    offPolicy: accumulation % perGeneration !== 0,
  };
}

function indivisible(name: string, value: number, byName: string, by: number, unit: number, note = ''): EspalierError {
  const below = Math.floor(value / unit) * unit;
  const fits = below > 0 ? `${below} or ${below + unit}` : String(unit);
  return new EspalierError('bad_config', `\`${name}\` ${value}${note} is not divisible by \`${byName}\` ${by}`, { fix: `${fits} would be` });
}

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));
const lcm = (a: number, b: number): number => (a * b) / gcd(a, b);
