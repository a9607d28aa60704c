import { distillConfig, DistillTrainer, parseDistillConfig, type DistillConfigInput } from '@espalier/distill';
import type { CheckedOptions } from '../checked-options';
import { offlineStage, type OfflineStage, type WithRows } from './offline-stage';

/** The fields of `GKDConfig` and those of every training stage; `teacherModelNameOrPath` names the teacher. */
export type DistillStageOptions = WithRows<DistillConfigInput>;

/**
 * Distillation from a larger model of the same vocabulary as a stage.
 * @throws EspalierError `bad_config` for an unknown or wrong field, at once
 * @example
 * distill({ dataset: 'train.jsonl', teacherModelNameOrPath: 'large', lmbda: 0.5, maxNewTokens: 64, maxSteps: 200 })
 */
export const distill = <const Options extends DistillStageOptions>(options: CheckedOptions<Options, DistillStageOptions>): OfflineStage<Options, 'distill'> =>
  offlineStage(options as Options, { name: 'distill', shape: distillConfig.shape, check: (config) => void parseDistillConfig(config), create: (trainer) => new DistillTrainer(trainer) });
