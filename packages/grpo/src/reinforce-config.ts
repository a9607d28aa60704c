import { klEstimators } from '@espalier/objectives';
import { EspalierError } from '@espalier/spec';
import { onlineArguments, parseArguments, roundGeometry } from '@espalier/trainer';
import { z } from 'zod';
import { checkPolicyArguments, count, nonNegative, offPolicyFields, optional, referenceFields } from './policy-config';

/** The fields that REINFORCE++ adds to those of every on-policy trainer. Defaults are OpenRLHF's where it has the option. */
export const reinforcePlusPlusFields = {
  /** Completions a prompt. With `baseline` at least 2. */
  numGenerations: count.default(8),
  /** REINFORCE++-baseline: the mean reward of the group comes off before the rewards of the batch are whitened. */
  baseline: z.boolean().default(false),
  /** Weight of the KL from the reference, taken off the reward token by token. 0: no reference is kept. */
  beta: nonNegative.default(0.01),
  ...referenceFields,
  klEstimator: z.enum(klEstimators).default('k1'),
  /** Discount of later rewards. */
  gamma: z.number().min(0).max(1).default(1),
  /** Optimisation passes over one generation. */
  numIterations: count.default(1),
  epsilon: nonNegative.default(0.2),
  /** Default: `epsilon`. */
  epsilonHigh: optional(nonNegative),
  /** Second upper bound on the ratio, which holds for negative advantages too (dual clip). */
  delta: optional(z.number().positive()),
  entropyCoef: z.number().default(0),
  /** A completion that was cut off at `maxCompletionLength` is not trained on. */
  maskTruncatedCompletions: z.boolean().default(false),
  ...offPolicyFields,
} as const;

/** All fields of a REINFORCE++ run: {@link reinforcePlusPlusFields} and what every on-policy trainer takes. */
export const reinforcePlusPlusConfig = onlineArguments.extend(reinforcePlusPlusFields);

export type ReinforcePlusPlusConfig = z.output<typeof reinforcePlusPlusConfig>;
/** As a user writes it: every field may be left out. */
export type ReinforcePlusPlusConfigInput = z.input<typeof reinforcePlusPlusConfig>;

/**
 * Validates a configuration, its batch sizes included.
 * @throws EspalierError `bad_config` that names every wrong field
 */
export function parseReinforcePlusPlusConfig(input: ReinforcePlusPlusConfigInput = {}): ReinforcePlusPlusConfig {
  const config = parseArguments(reinforcePlusPlusConfig, input, 'REINFORCE++');
  checkPolicyArguments(config);
  if (config.baseline && config.numGenerations < 2) throw new EspalierError('bad_config', '`baseline` takes the mean of the group off, and `num_generations` is 1', { fix: 'a `num_generations` of at least 2' });
  roundGeometry(config, config.numIterations);
  return config;
}
