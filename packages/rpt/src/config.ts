import { klEstimators } from '@espalier/objectives';
import { EspalierError } from '@espalier/spec';
import { assertWholeDistribution, onlineArguments, parseArguments, snakeCase } from '@espalier/trainer';
import { z } from 'zod';
import { controlFields } from './control/fields';
import { optional } from './corpus/fields';
import { informationGainFields } from './information-gain/fields';
import { nextSegmentFields } from './next-segment/fields';
import { nextTokenFields } from './next-token/fields';
import type { RPTObjective } from './objective';
import { precisionFields } from './precision/fields';
import { selfPlayFields } from './self-play/fields';

/** The fields that RPT adds to those of on-policy training, whatever the objective. */
export const rptFields = {
  /** What is trained on: see `rptObjectives`. */
  objective: z.string().min(1).default('verifiable').describe('verifiable, next-token, information-gain, next-segment, precision or self-play'),
  /** Weight of the KL divergence from the first weights. 0: no reference is kept. */
  klCoef: z.number().min(0).default(0),
  /** Where the divergence counts: added to the loss, token by token, or taken off the reward of a completion. */
  klPlacement: z.enum(['loss', 'reward']).default('loss'),
  /** Schulman's estimators. Default: `k3` in the loss, `k1` in the reward. */
  klEstimator: optional(z.enum(klEstimators)),
  /** Adapt the weight so that a completion's divergence stays near this many nats. Default: the weight is fixed. */
  klTarget: optional(z.number().positive()),
  /** Completions over which the weight adapts. */
  klHorizon: z.number().positive().default(10_000),
  /** Weight of the language-model loss on `lmDataset` in every optimiser step (InstructGPT: γ of PPO-ptx). */
  lmLossCoef: z.number().min(0).default(0),
  /** Rows of `lmDataset` an optimiser step. */
  lmBatchSize: z.int().positive().default(8),
  /** Tokens of a row of `lmDataset`; longer ones are cut. */
  lmMaxLength: z.int().min(2).default(1024),
  ...controlFields,
} as const;

/** The fields of single objectives. */
const objectiveFields = { ...nextTokenFields, ...informationGainFields, ...nextSegmentFields, ...precisionFields, ...selfPlayFields } as const;

/** All fields of an RPT run but the algorithm's own: training arguments, generation, {@link rptFields}, those of the objectives. */
export const rptConfig = onlineArguments.extend({ ...objectiveFields, ...rptFields });
export type RPTConfig = z.output<typeof rptConfig>;
/** As a user writes it: every field may be left out. */
export type RPTConfigInput = z.input<typeof rptConfig>;

/**
 * Validates a configuration.
 * @param more fields of an objective that is none of this package's
 * @throws EspalierError `bad_config` that names every wrong field
 */
export function parseRPTConfig(input: RPTConfigInput = {}, more: z.ZodRawShape = {}): RPTConfig {
  const config = parseArguments(rptConfig.extend(more) as unknown as typeof rptConfig, input, 'RPT');
  assertWholeDistribution(config);
  if (config.klTarget !== undefined && config.klCoef === 0) throw new EspalierError('bad_config', '`kl_target` is given and `kl_coef` is 0', { fix: 'a `kl_coef` to begin with, 0.05 for one' });
  if (config.maxContext < config.minContext) throw new EspalierError('bad_config', `\`max_context\` ${config.maxContext} is below \`min_context\` ${config.minContext}`, { fix: 'the smaller one first' });
  return config;
}

/**
 * The fields that a run of an objective has: those of the others are left out.
 * @throws EspalierError `bad_config` when one of another objective was given (as anything but its default)
 */
export function ownFields(config: RPTConfig, objective: Pick<RPTObjective, 'name' | 'fields'>): RPTConfig {
  const defaults = rptConfig.parse({}) as Record<string, unknown>;
  const foreign = Object.keys(objectiveFields).filter((name) => !(name in objective.fields));
  const stray = foreign.find((name) => JSON.stringify((config as Record<string, unknown>)[name]) !== JSON.stringify(defaults[name]));
  if (stray !== undefined) throw new EspalierError('bad_config', `\`${snakeCase(stray)}\` is no field of objective ${objective.name}`, { fix: 'leave it out, or choose the objective that has it' });
  return Object.fromEntries(Object.entries(config).filter(([name]) => !foreign.includes(name))) as RPTConfig;
}
