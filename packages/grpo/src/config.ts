import { importanceSamplingLevels, multiObjectiveAggregations, scaleRewardsModes } from '@espalier/objectives';
import { onlineArguments, parseArguments, roundGeometry } from '@espalier/trainer';
import { z } from 'zod';
import { lossTypes } from './loss';

const count = z.int().positive();
const nonNegative = z.number().min(0);
const optional = <T extends z.ZodType>(schema: T) => schema.nullish().transform((value) => value ?? undefined);

/** The fields that GRPO adds to those of every on-policy trainer: TRL's `GRPOConfig` in camelCase, with its defaults. */
export const grpoFields = {
  /** Completions a prompt. */
  numGenerations: z.int().min(2, 'a group needs at least 2 completions to compare').default(8),

  // Rewards
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

/** All fields of a GRPO run: {@link grpoFields} and what every on-policy trainer takes. */
export const grpoConfig = onlineArguments.extend(grpoFields);

export type GRPOConfig = z.output<typeof grpoConfig>;
/** As a user writes it: every field may be left out. */
export type GRPOConfigInput = z.input<typeof grpoConfig>;

/**
 * Validates a configuration, its batch sizes included.
 * @throws EspalierError `bad_config` that names every wrong field
 */
export function parseGRPOConfig(input: GRPOConfigInput = {}): GRPOConfig {
  const config = parseArguments(grpoConfig, input, 'GRPO');
  roundGeometry(config, config.numIterations);
  return config;
}
