import { parseSFTConfig, sftConfig, SFTTrainer, type SFTConfigInput } from '@espalier/sft';
import { defineStage, type MetricsHandle, type PolicyHandle, type Stage } from '@espalier/spec';
import { withFingerprint } from '../fingerprint';
import { rowsFingerprint } from '../rows';
import { modelArgsOf, requireOption, splitOptions, trainingOptionNames, type StageOwned, type TrainingStageOptions } from './options';
import { reporter, trainInStage } from './train-stage';

/** The fields of `SFTConfig` and those of every training stage. */
export type SftStageOptions = TrainingStageOptions & Omit<SFTConfigInput, StageOwned>;

/**
 * Supervised fine-tuning as a stage. Rows with `text`, `messages`, or `prompt` and `completion`.
 * @throws EspalierError `bad_config` for an unknown or wrong field, at once
 * @example
 * sft({ dataset: 'demonstrations.jsonl', evalDataset: 'held-out.jsonl', learningRate: 2e-5, maxSteps: 200 })
 */
export function sft(options: SftStageOptions): Stage<{ policy: PolicyHandle }, { policy: PolicyHandle; metrics: MetricsHandle }> {
  const name = options.name ?? 'sft';
  const { own, config } = splitOptions(name, options, trainingOptionNames, sftConfig.shape);
  requireOption(name, own, 'dataset', 'a .jsonl file, a task, or rows');
  parseSFTConfig(config as SFTConfigInput);
  const modelArgs = modelArgsOf(name, own);
  const stage = defineStage<{ policy: PolicyHandle }, { policy: PolicyHandle; metrics: MetricsHandle }>({
    name,
    needs: ['policy'],
    gives: ['policy', 'metrics'],
    run({ policy }, context) {
      return runSft(name, policy.path, options, config, modelArgs, context);
    },
  });
  return withFingerprint(stage, () => sftFingerprint(options, config, modelArgs));
}

/** Runs an `SFTTrainer` in a stage's folder: also what pre-training is, on plain text. */
export function runSft(name: string, model: string, options: TrainingStageOptions, config: Record<string, unknown>, modelArgs: ReturnType<typeof modelArgsOf>, context: Parameters<Stage['run']>[1]) {
  const { dataset, evalDataset, callbacks = [], inline } = options;
  const trainer = new SFTTrainer({
    model,
    trainDataset: dataset,
    ...(evalDataset === undefined ? {} : { evalDataset }),
    modelArgs,
    ...(inline === undefined ? {} : { inline }),
    callbacks: [reporter(name, context), ...callbacks],
    args: { seed: context.seed, ...config, outputDir: context.dir } as SFTConfigInput,
  });
  return trainInStage(trainer, context, evalDataset === undefined ? null : () => trainer.evaluate(context.signal ? { signal: context.signal } : {}));
}

export async function sftFingerprint(options: TrainingStageOptions, config: Record<string, unknown>, modelArgs: object): Promise<unknown> {
  return { config, modelArgs, rows: await rowsFingerprint(options.dataset), evalRows: await rowsFingerprint(options.evalDataset) };
}
