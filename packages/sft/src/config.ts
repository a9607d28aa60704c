import { parseArguments, trainingArguments } from '@espalier/trainer';
import { z } from 'zod';
import { lossTypes } from './loss';

/** The fields that SFT adds to the training arguments: TRL's `SFTConfig` in camelCase, with its defaults. */
export const sftFields = {
  /** Tokens a row may have; longer ones are cut. `null`: no limit. */
  maxLength: z.int().min(2).nullable().default(1024),
  /** Which end of a row that is too long is kept. */
  truncationMode: z.enum(['keep_start', 'keep_end']).default('keep_start'),
  /** Column of plain-text rows. */
  datasetTextField: z.string().min(1).default('text'),
  /** Train on the completion alone. Default: true for rows with `prompt` and `completion`. */
  completionOnlyLoss: z.boolean().nullish().transform((value) => value ?? undefined),
  lossType: z.enum(lossTypes).default('nll'),
} as const;

/** All fields of an SFT run: {@link sftFields} and the training arguments, with TRL's learning rate for SFT. */
export const sftConfig = trainingArguments.extend({ ...sftFields, learningRate: z.number().min(0).default(2e-5) });

export type SFTConfig = z.output<typeof sftConfig>;
/** As a user writes it: every field may be left out. */
export type SFTConfigInput = z.input<typeof sftConfig>;

/**
 * Validates a configuration.
 * @throws EspalierError `bad_config` that names every wrong field
 */
export function parseSFTConfig(input: SFTConfigInput = {}): SFTConfig {
  return parseArguments(sftConfig, input, 'SFT');
}
