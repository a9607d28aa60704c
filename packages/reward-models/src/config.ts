import { parseArguments, trainingArguments } from '@espalier/trainer';
import { z } from 'zod';

const learningRate = (rate: number) => z.number().min(0).default(rate);
const maxLength = z.int().min(2).nullable().default(1024);
/** Models here have no dropout: TRL's default is what happens. */
const disableDropout = z.literal(true, 'there is no dropout to keep').default(true);

/** The fields that reward modelling adds to the training arguments: TRL's `RewardConfig` in camelCase, with its defaults. */
export const rewardFields = {
  /** Tokens that a prompt and a completion may have together; a longer pair is left out. `null`: no limit but the model's. */
  maxLength,
  /** Weight of mean (r_chosen + r_rejected)². `null`: none; 0.01 is usual. */
  centerRewardsCoefficient: z.number().min(0).nullable().default(null),
  disableDropout,
} as const;
/** {@link rewardFields} and the training arguments, with TRL's learning rate for reward models. */
export const rewardConfig = trainingArguments.extend({ ...rewardFields, learningRate: learningRate(1e-4) });
export type RewardConfig = z.output<typeof rewardConfig>;
/** As a user writes it: every field may be left out. */
export type RewardConfigInput = z.input<typeof rewardConfig>;

/**
 * Validates a configuration.
 * @throws EspalierError `bad_config` that names every wrong field
 */
export function parseRewardConfig(input: RewardConfigInput = {}): RewardConfig {
  return parseArguments(rewardConfig, input, 'reward model');
}

/** The fields that process reward models add to the training arguments: TRL's `PRMConfig` in camelCase, with its defaults. */
export const prmFields = {
  /** Tokens that prompt and steps may have together; what is beyond is cut. `null`: no limit but the model's. */
  maxLength,
  /** Tokens that the steps may have together. */
  maxCompletionLength: z.int().min(1).nullish().transform((value) => value ?? undefined),
  disableDropout,
  /** Ends every step: the score of a step is that of its last token. */
  stepSeparator: z.string().min(1).default('\n'),
  /** Train on the last step of a row alone; evaluation takes all of them, as in TRL. */
  trainOnLastStepOnly: z.boolean().default(false),
} as const;
/** {@link prmFields} and the training arguments, with TRL's learning rate for process reward models. */
export const prmConfig = trainingArguments.extend({ ...prmFields, learningRate: learningRate(1e-5) });
export type PRMConfig = z.output<typeof prmConfig>;
export type PRMConfigInput = z.input<typeof prmConfig>;

/** @throws EspalierError `bad_config` that names every wrong field */
export function parsePRMConfig(input: PRMConfigInput = {}): PRMConfig {
  return parseArguments(prmConfig, input, 'process reward model');
}
