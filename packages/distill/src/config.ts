import { generationFields, parseArguments, trainingArguments } from '@espalier/trainer';
import { z } from 'zod';

const count = z.int().positive();
const share = z.number().min(0).max(1);
const optional = <T extends z.ZodType>(schema: T) => schema.nullish().transform((value) => value ?? undefined);

/** What generalised knowledge distillation and on-policy distillation have in common. */
const shared = {
  /** From 0 (forward KL, teacher ‖ student) to 1 (reverse KL, student ‖ teacher). */
  beta: share.default(0.5),
  /** The teacher, when the trainer's `teacherModel` does not say it. */
  teacherModelNameOrPath: optional(z.string().min(1)),
  /** Go through the rows in a random order. */
  shuffleDataset: z.boolean().default(true),
} as const;

/** The fields that distillation adds to the training arguments: TRL's `GKDConfig` in camelCase, with its defaults. */
export const distillFields = {
  ...shared,
  /** Of sampling. */
  temperature: z.number().positive('a sampled completion needs a temperature above 0').default(0.9),
  /** Share of rows that are trained on with a completion of the student's in place of their own: drawn for each row. 1: fully on-policy. */
  lmbda: share.default(0.5),
  /** Tokens of a generated completion. */
  maxNewTokens: count.default(128),
  /** Rows that are not on-policy are trained on with a completion of the teacher's in place of their own. */
  seqKd: z.boolean().default(false),
  /** Tokens of a row, prompt included; of longer ones the last are kept. `null`: no limit but the models' positions. */
  maxLength: z.int().min(2).nullable().default(1024),

  // Ours
  /** Both models' logits are divided by it in the divergence. TRL's `GKDTrainer` has 1 there whatever `temperature` is. */
  divergenceTemperature: z.number().positive().default(1),
} as const;

/** All fields of a distillation run: {@link distillFields} and the training arguments, with TRL's learning rate for it. */
export const distillConfig = trainingArguments.extend({ ...distillFields, learningRate: z.number().min(0).default(2e-5) });
export type DistillConfig = z.output<typeof distillConfig>;
/** As a user writes it: every field may be left out. */
export type DistillConfigInput = z.input<typeof distillConfig>;

/** TRL's name of {@link distillConfig}. */
export const gkdConfig = distillConfig;
export type GKDConfig = DistillConfig;
export type GKDConfigInput = DistillConfigInput;

/**
 * Validates a configuration.
 * @throws EspalierError `bad_config` that names every wrong field
 */
export function parseDistillConfig(input: DistillConfigInput = {}): DistillConfig {
  return parseArguments(distillConfig, input, 'distillation');
}

const { topP, topK, minP, repetitionPenalty } = generationFields;

/**
 * TRL's `DistillationConfig` in camelCase, with its defaults: fully on-policy, reverse KL, one temperature for sampling and divergence. What filters the
 * sampler's distribution (`topP`, `topK`, `minP`, `repetitionPenalty`) shapes the completions alone: the divergence is between the whole distributions.
 */
export const distillationConfig = trainingArguments.extend({
  ...shared,
  beta: share.default(1),
  temperature: z.number().positive('a sampled completion needs a temperature above 0').default(1),
  maxCompletionLength: count.default(512),
  topP,
  topK,
  minP,
  repetitionPenalty,
  learningRate: z.number().min(0).default(1e-6),
});
export type DistillationConfig = z.output<typeof distillationConfig>;
export type DistillationConfigInput = z.input<typeof distillationConfig>;

/**
 * Validates a configuration of on-policy distillation.
 * @throws EspalierError `bad_config` that names every wrong field
 */
export function parseDistillationConfig(input: DistillationConfigInput = {}): DistillationConfig {
  return parseArguments(distillationConfig, input, 'distillation');
}
