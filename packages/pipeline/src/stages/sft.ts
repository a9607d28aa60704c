import { parseSFTConfig, sftConfig, SFTTrainer, type SFTConfigInput } from '@espalier/sft';
import type { Stage } from '@espalier/spec';
import type { CheckedOptions } from '../checked-options';
import type { TrainerCallback } from '@espalier/trainer';
import { rowsFingerprint } from '../rows';
import { offlineStage, type OfflineStage, type WithRows } from './offline-stage';
import type { modelArgsOf, TrainingStageOptions } from './options';
import { reporter, trainInStage } from './train-stage';

/** The fields of `SFTConfig` and those of every training stage. */
export type SftStageOptions = WithRows<SFTConfigInput>;

/**
 * Supervised fine-tuning as a stage. Rows with `text`, `messages`, or `prompt` and `completion`; without `dataset` those that a stage before it gives.
 * @throws EspalierError `bad_config` for an unknown or wrong field, at once
 * @example
 * sft({ dataset: 'demonstrations.jsonl', evalDataset: 'held-out.jsonl', learningRate: 2e-5, maxSteps: 200 })
 */
export const sft = <const Options extends SftStageOptions>(options: CheckedOptions<Options, SftStageOptions>): OfflineStage<Options, 'sft'> =>
  offlineStage(options as Options, { name: 'sft', shape: sftConfig.shape, check: (config) => void parseSFTConfig(config), create: (trainer) => new SFTTrainer(trainer) });

/** An `SFTTrainer` as a stage asks for it. */
export function sftTrainer(model: string, options: TrainingStageOptions, args: object, modelArgs: ReturnType<typeof modelArgsOf>, callbacks: readonly TrainerCallback[] = []): SFTTrainer {
  const { dataset, evalDataset, inline } = options;
  return new SFTTrainer({ model, trainDataset: dataset, ...(evalDataset === undefined ? {} : { evalDataset }), modelArgs, ...(inline === undefined ? {} : { inline }), callbacks, args: args as SFTConfigInput });
}

/** Runs it in a stage's folder: also what pre-training is, on plain text. */
export function runSft(name: string, model: string, options: TrainingStageOptions, config: Record<string, unknown>, modelArgs: ReturnType<typeof modelArgsOf>, context: Parameters<Stage['run']>[1]) {
  const { evalDataset, callbacks = [] } = options;
  const trainer = sftTrainer(model, options, { seed: context.seed, ...config, outputDir: context.dir }, modelArgs, [reporter(name, context), ...callbacks]);
  return trainInStage(trainer, context, evalDataset === undefined ? null : () => trainer.evaluate(context.signal ? { signal: context.signal } : {}));
}

export async function sftFingerprint(options: TrainingStageOptions, config: Record<string, unknown>, modelArgs: object): Promise<unknown> {
  return { config, modelArgs, rows: await rowsFingerprint(options.dataset), evalRows: await rowsFingerprint(options.evalDataset) };
}
