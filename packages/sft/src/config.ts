import { packingStrategies } from '@espalier/data';
import { parseArguments, trainingArguments } from '@espalier/trainer';
import { EspalierError } from '@espalier/spec';
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
  /** Train on what the assistant writes alone: messages only. Together with `completionOnlyLoss` both must hold. */
  assistantOnlyLoss: z.boolean().default(false),
  lossType: z.enum(lossTypes).default('nll'),
  /** Put several rows into one of `maxLength` tokens; attention keeps them apart (but for `wrapped`). */
  packing: z.boolean().default(false),
  /** `bfd`: whole rows, longer ones cut; `bfd_split`: longer ones divided; `wrapped`: all joined and cut anew. */
  packingStrategy: z.enum(packingStrategies).default('bfd'),
  /** The same for the held-out rows. Default: `packing`. */
  evalPacking: z.boolean().nullish().transform((value) => value ?? undefined),
  /** Batches never have padding here: accepted for TRL's sake, changes nothing. */
  paddingFree: z.boolean().default(false),
  /** Shuffle the rows before they are packed. (The order of training is shuffled anyway.) */
  shuffleDataset: z.boolean().default(false),
  /** Uniform noise on the embeddings in training, of this strength (NEFTune, 2310.05914); 5 to 15 are usual. */
  neftuneNoiseAlpha: z.number().positive().nullish().transform((value) => value ?? undefined),
} as const;

/** All fields of an SFT run: {@link sftFields} and the training arguments, with TRL's learning rate for SFT. */
export const sftConfig = trainingArguments.extend({ ...sftFields, learningRate: z.number().min(0).default(2e-5) });

export type SFTConfig = z.output<typeof sftConfig>;
/** As a user writes it: every field may be left out. */
export type SFTConfigInput = z.input<typeof sftConfig>;

/**
 * Validates a configuration.
 * @throws EspalierError `bad_config` that names every wrong field, or fields that do not go together
 */
export function parseSFTConfig(input: SFTConfigInput = {}): SFTConfig {
  const config = parseArguments(sftConfig, input, 'SFT');
  if ((config.packing || config.evalPacking) && config.maxLength === null) throw new EspalierError('bad_config', 'SFT: `packing` needs a `max_length` to fill, and it is null', { fix: 'a number of tokens, such as 1024' });
  if (config.packing && config.truncationMode === 'keep_end') throw new EspalierError('bad_config', 'SFT: `truncation_mode` keep_end does not go with `packing`, which cuts rows by its own rule', { fix: 'leave `truncation_mode` out, or `packing_strategy` bfd_split, which loses nothing' });
  return config;
}
