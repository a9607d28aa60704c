import { EspalierError } from '@espalier/spec';
import { modelArguments, snakeCase, type DatasetInput, type ModelArgumentsInput, type TrainerCallback } from '@espalier/trainer';
import { nearest } from '../nearest';

/** How a stage opens its model. */
export interface StageModelOptions {
  backend?: NonNullable<ModelArgumentsInput['backend']>;
  /** Matrix products. Default: bf16 where the processor has it. */
  precision?: 'bf16' | 'fp32';
  /** `int8`: generate with linear layers in eight bits, on the backend `native`. */
  samplerWeights?: 'int8';
  /** Train low-rank adapters of this rank; the stage gives the merged model. */
  loraRank?: number;
  /** Default 32. */
  loraAlpha?: number;
  loraTargetModules?: [string, ...string[]];
  /** The model on the caller's thread: for tests and debugging. */
  inline?: boolean;
}

/** What every training stage takes besides the fields of its trainer. */
export interface TrainingStageOptions extends StageModelOptions {
  /** The stage's name in reports and in the run's folder. Default: that of the factory. */
  name?: string;
  /** A `.jsonl` file, a task (`arithmetic:difficulty=2,size=512`), a dataset, or rows. */
  dataset: DatasetInput;
  /** Held-out rows: evaluated when the stage ends, and every `evalSteps`. */
  evalDataset?: DatasetInput;
  callbacks?: readonly TrainerCallback[];
}

/** Fields that a stage sets itself. */
export type StageOwned = 'outputDir' | 'overwriteOutputDir' | 'runName' | 'resumeFromCheckpoint';
export const stageOwned: readonly StageOwned[] = ['outputDir', 'overwriteOutputDir', 'runName', 'resumeFromCheckpoint'];

export const modelOptionNames = ['backend', 'precision', 'samplerWeights', 'loraRank', 'loraAlpha', 'loraTargetModules', 'inline'] as const;
export const trainingOptionNames = [...modelOptionNames, 'name', 'dataset', 'evalDataset', 'callbacks'] as const;

/**
 * Divides a stage's options into its own and those of its trainer.
 * @throws EspalierError `bad_config` for an unknown field, naming the nearest, or one that the pipeline sets
 */
export function splitOptions(stage: string, options: object, own: readonly string[], config: Readonly<Record<string, unknown>>): { own: Record<string, unknown>; config: Record<string, unknown> } {
  const split = { own: {} as Record<string, unknown>, config: {} as Record<string, unknown> };
  const known = [...own, ...Object.keys(config)].filter((name) => !(stageOwned as readonly string[]).includes(name));
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined) continue;
    if ((stageOwned as readonly string[]).includes(name)) throw new EspalierError('bad_config', `stage "${stage}": \`${snakeCase(name)}\` is set by the pipeline`, { fix: 'leave it out' });
    if (own.includes(name)) split.own[name] = value;
    else if (name in config) split.config[name] = value;
    else {
      const close = nearest(name, known.map(snakeCase));
      throw new EspalierError('bad_config', `stage "${stage}": unknown field \`${snakeCase(name)}\``, close ? { fix: `did you mean \`${close}\`?` } : {});
    }
  }
  return split;
}

/** @throws EspalierError `bad_config` when a field that has no default is missing */
export function requireOption(stage: string, own: Readonly<Record<string, unknown>>, name: string, what: string): void {
  if (own[name] === undefined) throw new EspalierError('bad_config', `stage "${stage}": \`${snakeCase(name)}\` is missing`, { fix: what });
}

/**
 * The trainer's model arguments from a stage's options.
 * @throws EspalierError `bad_config`
 */
export function modelArgsOf(stage: string, own: Readonly<Record<string, unknown>>): ModelArgumentsInput {
  const { backend, precision, samplerWeights, loraRank, loraAlpha, loraTargetModules } = own as StageModelOptions;
  if (precision !== undefined && precision !== 'bf16' && precision !== 'fp32') throw new EspalierError('bad_config', `stage "${stage}": \`precision\` is ${JSON.stringify(precision)}`, { fix: 'bf16 or fp32' });
  if (loraRank === undefined && (loraAlpha !== undefined || loraTargetModules !== undefined)) throw new EspalierError('bad_config', `stage "${stage}": \`lora_alpha\` and \`lora_target_modules\` need \`lora_rank\``);
  const args = {
    ...(backend === undefined ? {} : { backend }),
    ...(precision === undefined ? {} : { bf16: precision === 'bf16' }),
    ...(samplerWeights === undefined ? {} : { samplerWeights }),
    ...(loraRank === undefined ? {} : { usePeft: true, loraR: loraRank, ...(loraAlpha === undefined ? {} : { loraAlpha }), ...(loraTargetModules === undefined ? {} : { loraTargetModules }) }),
  };
  const checked = modelArguments.safeParse(args);
  if (!checked.success) throw new EspalierError('bad_config', `stage "${stage}": \`${snakeCase(String(checked.error.issues[0].path[0]))}\`: ${checked.error.issues[0].message}`);
  return args;
}
