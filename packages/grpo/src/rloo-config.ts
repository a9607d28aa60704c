import { onlineArguments, parseArguments, roundGeometry } from '@espalier/trainer';
import { EspalierError } from '@espalier/spec';
import { z } from 'zod';
import { checkPolicyArguments, count, nonNegative, offPolicyFields, optional, referenceFields } from './policy-config';

/** The fields that RLOO adds to those of every on-policy trainer: TRL's `RLOOConfig` in camelCase, with its defaults. */
export const rlooFields = {
  /** Completions a prompt. */
  numGenerations: z.int().min(2, 'leave-one-out needs at least 2 completions').default(2),
  /** Weight of Σ log π_old − log π_ref of a completion, which is taken off its reward. 0: no reference is kept. */
  beta: nonNegative.default(0.05),
  ...referenceFields,
  /** Optimisation passes over one generation. */
  numIterations: count.default(1),
  epsilon: nonNegative.default(0.2),
  /** Default: `epsilon`. */
  epsilonHigh: optional(nonNegative),
  /** Divide the advantages of a generation by their standard deviation, their mean taken off. */
  normalizeAdvantages: z.boolean().default(false),
  /** Rewards are limited to [low, high] before the penalty comes off. */
  rewardClipRange: optional(z.tuple([z.number(), z.number()]).refine(([low, high]) => low <= high, 'the lower bound first')),
  /** A completion that was cut off at `maxCompletionLength` is not trained on. */
  maskTruncatedCompletions: z.boolean().default(false),
  ...offPolicyFields,
} as const;

/** All fields of an RLOO run: {@link rlooFields} and what every on-policy trainer takes. */
export const rlooConfig = onlineArguments.extend(rlooFields);

export type RLOOConfig = z.output<typeof rlooConfig>;
/** As a user writes it: every field may be left out. */
export type RLOOConfigInput = z.input<typeof rlooConfig>;

/**
 * Validates a configuration, its batch sizes included.
 * @throws EspalierError `bad_config` that names every wrong field
 */
export function parseRLOOConfig(input: RLOOConfigInput = {}): RLOOConfig {
  const config = parseArguments(rlooConfig, input, 'RLOO');
  checkPolicyArguments(config);
  if (config.importanceSamplingMode.startsWith('token')) {
    throw new EspalierError('bad_config', `\`importance_sampling_mode\` ${config.importanceSamplingMode} weighs tokens, and the loss of RLOO has one ratio a completion`, { fix: 'sequence_truncate, sequence_mask or geometric_mask' });
  }
  roundGeometry(config, config.numIterations);
  return config;
}
