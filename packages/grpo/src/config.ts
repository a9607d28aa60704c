import { importanceSamplingLevels, multiObjectiveAggregations, scaleRewardsModes } from '@espalier/objectives';
import { EspalierError } from '@espalier/spec';
import { onlineArguments, parseArguments, roundGeometry } from '@espalier/trainer';
import { z } from 'zod';
import { lossTypes } from './loss';
import { checkPolicyArguments, count, nonNegative, offPolicyFields, optional, referenceFields } from './policy-config';

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
  ...referenceFields,
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
  /** Move the coefficient after each optimiser step, so that entropy stays near `entropyTarget` (Skywork-OR1); `entropyCoef` is where it begins. */
  useAdaptiveEntropy: z.boolean().default(false),
  entropyCoefMin: nonNegative.default(0),
  entropyCoefMax: nonNegative.default(1),
  entropyCoefDelta: nonNegative.default(0.005),
  /** In nats a token. */
  entropyTarget: nonNegative.default(0.2),
  offPolicyMaskThreshold: optional(z.number()),
  sapoTemperaturePos: z.number().positive().default(1),
  sapoTemperatureNeg: z.number().positive().default(1.05),
  vespoKPos: z.number().default(2),
  vespoLambdaPos: z.number().default(3),
  vespoKNeg: z.number().default(3),
  vespoLambdaNeg: z.number().default(2),

  ...offPolicyFields,
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
  checkPolicyArguments(config);
  if (config.entropyCoefMin > config.entropyCoefMax) throw new EspalierError('bad_config', `\`entropy_coef_min\` ${config.entropyCoefMin} is over \`entropy_coef_max\` ${config.entropyCoefMax}`, { fix: 'the lower bound first' });
  if (config.lossType === 'vespo' && config.importanceSamplingCorrection === true && !config.importanceSamplingMode.startsWith('token')) {
    throw new EspalierError('bad_config', `\`loss_type\` vespo makes its own weights of sequences and takes corrections by token: \`importance_sampling_mode\` is ${config.importanceSamplingMode}`, { fix: 'token_truncate or token_mask' });
  }
  roundGeometry(config, config.numIterations);
  return config;
}
