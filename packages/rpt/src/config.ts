import { klEstimators } from '@espalier/objectives';
import { EspalierError } from '@espalier/spec';
import { assertWholeDistribution, onlineArguments, parseArguments } from '@espalier/trainer';
import { z } from 'zod';

/** The fields that RPT adds to those of on-policy training. */
export const rptFields = {
  /** Weight of the KL divergence from the first weights. 0: no reference is kept. */
  klCoef: z.number().min(0).default(0),
  /** Where the divergence counts: added to the loss, token by token, or taken off the reward of a completion. */
  klPlacement: z.enum(['loss', 'reward']).default('loss'),
  /** Schulman's estimators. Default: `k3` in the loss, `k1` in the reward. */
  klEstimator: z.enum(klEstimators).nullish().transform((value) => value ?? undefined),
  /** Adapt the weight so that a completion's divergence stays near this many nats. Default: the weight is fixed. */
  klTarget: z.number().positive().nullish().transform((value) => value ?? undefined),
  /** Completions over which the weight adapts. */
  klHorizon: z.number().positive().default(10_000),
  /** Weight of the language-model loss on `lmDataset` in every optimiser step (InstructGPT: γ of PPO-ptx). */
  lmLossCoef: z.number().min(0).default(0),
  /** Rows of `lmDataset` an optimiser step. */
  lmBatchSize: z.int().positive().default(8),
  /** Tokens of a row of `lmDataset`; longer ones are cut. */
  lmMaxLength: z.int().min(2).default(1024),
} as const;

/** All fields of an RPT run but the algorithm's own: training arguments, generation, {@link rptFields}. */
export const rptConfig = onlineArguments.extend(rptFields);
export type RPTConfig = z.output<typeof rptConfig>;
/** As a user writes it: every field may be left out. */
export type RPTConfigInput = z.input<typeof rptConfig>;

/**
 * Validates a configuration.
 * @throws EspalierError `bad_config` that names every wrong field
 */
export function parseRPTConfig(input: RPTConfigInput = {}): RPTConfig {
  const config = parseArguments(rptConfig, input, 'RPT');
  assertWholeDistribution(config);
  if (config.klTarget !== undefined && config.klCoef === 0) throw new EspalierError('bad_config', '`kl_target` is given and `kl_coef` is 0', { fix: 'a `kl_coef` to begin with, 0.05 for one' });
  return config;
}
