import { importanceCorrectionModes } from '@espalier/objectives';
import { EspalierError } from '@espalier/spec';
import { assertWholeDistribution, type OnlineArguments } from '@espalier/trainer';
import { z } from 'zod';

export const count = z.int().positive();
export const nonNegative = z.number().min(0);
export const optional = <T extends z.ZodType>(schema: T) => schema.nullish().transform((value) => value ?? undefined);

/** A reference that follows the policy (TR-DPO, 2404.09656), by TRL's names. */
export const referenceFields = {
  /** Mix the policy into the reference every `refModelSyncSteps`. */
  syncRefModel: z.boolean().default(false),
  /** The share of the policy in the mixture. */
  refModelMixupAlpha: z.number().min(0).max(1).default(0.6),
  /** Optimiser steps between mixtures. */
  refModelSyncSteps: count.default(512),
} as const;

/**
 * What the policy-gradient trainers take for the case that the sampler μ, the trainer's copy π_old and the current policy π_θ are not one: fields of ours, and
 * TRL's `vllm_importance_sampling_*` without the name of an engine.
 */
export const offPolicyFields = {
  /**
   * Where the log-probs of the old policy come from when the loss needs them. `recompute`: a forward pass after generation (TRL). `sampler`: what
   * the sampler reported, which saves the pass and takes its rounding into the ratio. `auto`: `recompute` when a generation serves more than
   * one optimiser step, or when a KL in the reward asks for it; else none: the ratio is exactly 1, and a mismatch with the sampler is corrected in the loss.
   */
  oldLogps: z.enum(['auto', 'recompute', 'sampler']).default('auto'),
  /** Weigh the loss with π_old/μ (TRL: `vllm_importance_sampling_correction`). `auto`: where the sampler has weights of its own, which are not those of the learner bit by bit. */
  importanceSamplingCorrection: z.union([z.boolean(), z.literal('auto')]).default('auto'),
  /** See `importanceCorrectionModes`: `token_truncate` is TIS, `token_mask` within 0.5 and 5 is IcePop. */
  importanceSamplingMode: z.enum(importanceCorrectionModes).default('sequence_mask'),
  /** Upper bound of the ratio; null: none. */
  importanceSamplingClipMax: z.number().positive().nullable().default(3),
  /** Lower bound of the ratio. */
  importanceSamplingClipMin: optional(nonNegative),
  /** Versions of the weights (optimiser steps) that a completion may be behind. The local engine is never behind. */
  maxStaleness: z.int().min(0).default(4),
  /** What becomes of a completion that is further behind: left out of the loss and of its group's baseline, or kept, its mismatch corrected. */
  staleCompletions: z.enum(['reject', 'correct']).default('reject'),
} as const;

/** {@link offPolicyFields} after validation. */
export type OffPolicyConfig = z.output<z.ZodObject<typeof offPolicyFields>>;

/**
 * What no schema of single fields can tell: filters of the sampler's distribution, and corrections that contradict one another.
 * @throws EspalierError `bad_config`
 */
export function checkPolicyArguments(config: OffPolicyConfig & { beta: number; syncRefModel: boolean } & Pick<OnlineArguments, 'topP' | 'topK' | 'minP' | 'repetitionPenalty'>): void {
  assertWholeDistribution(config);
  if (config.syncRefModel && config.beta === 0) throw new EspalierError('bad_config', '`sync_ref_model` moves the reference, and `beta` is 0: there is none', { fix: 'a `beta` above 0, or `sync_ref_model` false' });
  const { importanceSamplingClipMin: low, importanceSamplingClipMax: high } = config;
  if (low !== undefined && high !== null && low >= high) throw new EspalierError('bad_config', `\`importance_sampling_clip_min\` ${low} is not below \`importance_sampling_clip_max\` ${high}`, { fix: 'a lower bound below the upper one' });
  if (config.oldLogps === 'sampler' && config.importanceSamplingCorrection === true) {
    throw new EspalierError('bad_config', '`old_logps` sampler takes the mismatch with the sampler into the ratio, and `importance_sampling_correction` would count it twice', { fix: '`old_logps` recompute, or no correction' });
  }
  if (config.staleCompletions === 'correct' && (config.importanceSamplingCorrection === false || config.oldLogps === 'sampler')) {
    throw new EspalierError('bad_config', `\`stale_completions\` correct needs the correction, and ${config.oldLogps === 'sampler' ? '`old_logps` sampler leaves none' : '`importance_sampling_correction` is false'}`, { fix: '`stale_completions` reject' });
  }
}
