import { EspalierError } from '@espalier/spec';
import { assertWholeDistribution, onlineArguments, parseArguments, roundGeometry } from '@espalier/trainer';
import { z } from 'zod';

const count = z.int().positive();
const nonNegative = z.number().min(0);
const unit = z.number().min(0).max(1);
const optional = <T extends z.ZodType>(schema: T) => schema.nullish().transform((value) => value ?? undefined);

/** The fields that PPO adds to those of every on-policy trainer: TRL's `PPOConfig` (1.9.0) in camelCase, with its defaults, then ours. */
export const ppoFields = {
  // Where TRL's defaults for PPO differ from those of other on-policy trainers
  /** Completions a prompt. */
  numGenerations: count.default(1),
  maxCompletionLength: count.default(53),
  temperature: z.number().positive('a sampled policy needs a temperature above 0').default(0.7),
  learningRate: nonNegative.default(3e-6),

  // TRL's fields
  /** TRL's name for `maxCompletionLength`. */
  responseLength: optional(count),
  /** Completions in all: another way to say `maxSteps`. */
  totalEpisodes: optional(count),
  /** Passes over one batch of completions. */
  numPpoEpochs: count.default(4),
  /** Optimiser steps a pass. */
  numMiniBatches: count.default(1),
  /** Scale the token rewards to unit variance over the batch, their mean kept. */
  whitenRewards: z.boolean().default(false),
  /** Weight of the divergence from the first weights in the reward. 0: no reference is kept. */
  klCoef: nonNegative.default(0.05),
  klEstimator: z.enum(['k1', 'k3'], 'k1 or k3: k2 estimates no reward').default('k1'),
  /** Ratios are clipped to 1 ± this. */
  cliprange: nonNegative.default(0.2),
  /** Weight of the value loss. */
  vfCoef: nonNegative.default(0.1),
  /** How far a value may move from that of the rollout before it stops to gain. `null`: as far as it likes. */
  cliprangeValue: nonNegative.nullable().default(0.2),
  gamma: unit.default(1),
  lam: unit.default(0.95),
  /** Taken off the score of a completion that did not end by itself. */
  missingEosPenalty: optional(z.number().positive('the penalty is taken off: a positive number')),

  // The critic
  /** Folder, file or hub id of the critic. Default: the policy's own. */
  valueModel: optional(z.string().min(1)),
  /** One model with two heads: the policy's own trunk gives the values. */
  sharedTrunk: z.boolean().default(false),
  /** Keep the embedding and this many of the lowest layers as they are; the reference shares them (hydra). */
  freezeLayers: optional(count),
  /** Learning rate of a separate critic. Default: `learningRate`. */
  valueLearningRate: optional(z.number().positive()),
  /** A completion that ended by itself has one more state, after its last token, on which its score falls (TRL). `false`: the score falls on the last token. */
  valueAfterEos: z.boolean().default(true),

  // Rewards
  /** Mean divergence of a completion, in nats, that `klCoef` is steered to (Ziegler et al. 2019). Default: the coefficient is fixed. */
  klTarget: optional(z.number().positive()),
  /** Completions over which the coefficient adapts. */
  klHorizon: z.number().positive().default(10_000),
  /** Divide scores by their running standard deviation. */
  useScoreScaling: z.boolean().default(false),
  /** Subtract their running mean first. */
  useScoreNorm: z.boolean().default(false),
  /** Scores are clipped to ± this, after scaling. */
  scoreClip: optional(z.number().positive()),
  /** Scale advantages to mean 0 and variance 1 over the batch (TRL always does). */
  whitenAdvantages: z.boolean().default(true),

  // Optimisation
  /** Stop the passes over a batch once a minibatch's approximate divergence from the policy that sampled exceeds 1.5 times this. */
  targetKl: optional(z.number().positive()),
  /** Where the log-probs of the policy that sampled come from: a forward pass, or what the sampler reported (TRL). */
  oldLogps: z.enum(['recompute', 'sampler']).default('recompute'),
  /** Keep an exponential moving average of the policy's weights. */
  emaDecay: optional(z.number().gt(0).lt(1)),
  /** Weight of the language-model loss on `ptxDataset` in every optimiser step (InstructGPT's γ). */
  ptxCoef: nonNegative.default(0),
  /** Rows of `ptxDataset` an optimiser step. */
  ptxBatchSize: count.default(8),
  /** Tokens of a row of `ptxDataset`; longer ones are cut. */
  ptxMaxLength: z.int().min(2).default(1024),
} as const;

/** All fields of a PPO run: {@link ppoFields} and what every on-policy trainer takes. */
export const ppoConfig = onlineArguments.extend(ppoFields);

export type PPOConfig = z.output<typeof ppoConfig>;
/** As a user writes it: every field may be left out. */
export type PPOConfigInput = z.input<typeof ppoConfig>;

/**
 * Validates a configuration as the method itself needs it; batch sizes are those of whoever runs it.
 * @throws EspalierError `bad_config` that names every wrong field
 */
export function parsePPOFields(input: PPOConfigInput = {}): PPOConfig {
  const config = parseArguments(ppoConfig, input, 'PPO');
  assertWholeDistribution(config);
  if (config.responseLength !== undefined) {
    if (input.maxCompletionLength !== undefined && input.maxCompletionLength !== config.responseLength) {
      throw new EspalierError('bad_config', `\`response_length\` is ${config.responseLength} and \`max_completion_length\` ${input.maxCompletionLength}: they are two names of one field`, { fix: 'one of them' });
    }
    config.maxCompletionLength = config.responseLength;
  }
  if (config.useScoreNorm && !config.useScoreScaling) throw new EspalierError('bad_config', '`use_score_norm` needs `use_score_scaling`', { fix: '`use_score_scaling: true`' });
  if (config.klTarget !== undefined && config.klCoef === 0) throw new EspalierError('bad_config', '`kl_target` is given and `kl_coef` is 0', { fix: 'a `kl_coef` to begin with, 0.05 for one' });
  if (config.sharedTrunk && config.valueModel !== undefined) throw new EspalierError('bad_config', '`value_model` is given and `shared_trunk` says that the policy is the critic', { fix: 'one of them' });
  if (config.sharedTrunk && config.valueLearningRate !== undefined) throw new EspalierError('bad_config', '`value_learning_rate` is that of a separate critic, and `shared_trunk` is set', { fix: '`parameter_groups` with `match: ^score` sets the rate of the head' });
  if (config.valueLearningRate !== undefined && config.learningRate === 0) throw new EspalierError('bad_config', '`value_learning_rate` follows the schedule of `learning_rate`, which is 0', { fix: 'a positive `learning_rate`' });
  return config;
}

/**
 * Validates a configuration, its batch sizes included.
 * @throws EspalierError `bad_config` that names every wrong field
 */
export function parsePPOConfig(input: PPOConfigInput = {}): PPOConfig {
  const config = parsePPOFields(input);
  const geometry = roundGeometry(config, 1);
  const batch = config.perDeviceTrainBatchSize * config.gradientAccumulationSteps;
  if (geometry.updates > 1 || geometry.generations > 1) {
    throw new EspalierError('bad_config', `PPO's batch is \`per_device_train_batch_size\` × \`gradient_accumulation_steps\`, ${batch} completions; its optimiser steps are \`num_ppo_epochs\` × \`num_mini_batches\``, { fix: 'leave `steps_per_generation` and `generation_batch_size` out' });
  }
  if (batch % config.numMiniBatches !== 0) {
    const fitting = Array.from({ length: batch }, (_, i) => i + 1).filter((n) => batch % n === 0);
    const [below, above] = [fitting.filter((n) => n < config.numMiniBatches).at(-1), fitting.find((n) => n > config.numMiniBatches)];
    throw new EspalierError('bad_config', `a batch of ${batch} completions is not divisible by \`num_mini_batches\` ${config.numMiniBatches}`, { fix: `${[below, above].filter((n) => n !== undefined).join(' or ')} would do` });
  }
  if (config.totalEpisodes !== undefined) {
    if (config.maxSteps > 0) throw new EspalierError('bad_config', '`total_episodes` and `max_steps` were both given', { fix: 'one of them; the other follows' });
    config.maxSteps = Math.ceil(config.totalEpisodes / batch);
  }
  return config;
}
