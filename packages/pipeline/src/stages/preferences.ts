import {
  cpoConfig, CPOTrainer, dpoConfig, DPOTrainer, ktoConfig, KTOTrainer, orpoConfig, ORPOTrainer, parseCPOConfig, parseDPOConfig, parseKTOConfig, parseORPOConfig,
  type CPOConfigInput, type DPOConfigInput, type KTOConfigInput, type ORPOConfigInput,
} from '@espalier/dpo';
import type { CheckedOptions } from '../checked-options';
import { offlineStage, type OfflineRecipe, type OfflineStage, type WithRows } from './offline-stage';

/** The fields of `DPOConfig` and those of every training stage. */
export type DpoStageOptions = WithRows<DPOConfigInput> & { /** The reference, when it is not the policy that comes in. */ refModel?: string };
export type KtoStageOptions = WithRows<KTOConfigInput> & { refModel?: string };
export type CpoStageOptions = WithRows<CPOConfigInput>;
export type OrpoStageOptions = WithRows<ORPOConfigInput>;

const refModelOf = (own: Readonly<Record<string, unknown>>) => (own['refModel'] === undefined ? {} : { refModel: own['refModel'] as string });

const recipes = {
  dpo: { name: 'dpo' as const, shape: dpoConfig.shape, own: ['refModel'], check: (config) => void parseDPOConfig(config), create: (options, own) => new DPOTrainer({ ...options, ...refModelOf(own) }) },
  kto: { name: 'kto' as const, shape: ktoConfig.shape, own: ['refModel'], check: (config) => void parseKTOConfig(config), create: (options, own) => new KTOTrainer({ ...options, ...refModelOf(own) }) },
  cpo: { name: 'cpo' as const, shape: cpoConfig.shape, check: (config) => void parseCPOConfig(config), create: (options) => new CPOTrainer(options) },
  orpo: { name: 'orpo' as const, shape: orpoConfig.shape, check: (config) => void parseORPOConfig(config), create: (options) => new ORPOTrainer(options) },
} satisfies Record<string, OfflineRecipe>;

/**
 * Direct preference optimisation as a stage. Rows with `chosen` and `rejected`; without `dataset` those of a stage before it.
 * @throws EspalierError `bad_config` for an unknown or wrong field, at once
 * @example
 * dpo({ dataset: 'preferences.jsonl', beta: 0.1, learningRate: 1e-6, maxSteps: 200 })
 */
export const dpo = <const Options extends DpoStageOptions>(options: CheckedOptions<Options, DpoStageOptions>): OfflineStage<Options, 'dpo'> => offlineStage(options as Options, recipes.dpo);

/** Kahneman–Tversky optimisation as a stage: rows with `prompt`, `completion` and `label`. @throws EspalierError `bad_config`, at once */
export const kto = <const Options extends KtoStageOptions>(options: CheckedOptions<Options, KtoStageOptions>): OfflineStage<Options, 'kto'> => offlineStage(options as Options, recipes.kto);

/** Contrastive preference optimisation (CPO, SimPO, AlphaPO) as a stage. @throws EspalierError `bad_config`, at once */
export const cpo = <const Options extends CpoStageOptions>(options: CheckedOptions<Options, CpoStageOptions>): OfflineStage<Options, 'cpo'> => offlineStage(options as Options, recipes.cpo);

/** Odds-ratio preference optimisation as a stage. @throws EspalierError `bad_config`, at once */
export const orpo = <const Options extends OrpoStageOptions>(options: CheckedOptions<Options, OrpoStageOptions>): OfflineStage<Options, 'orpo'> => offlineStage(options as Options, recipes.orpo);
