import {
  GRPOTrainer, grpoConfig, parseGRPOConfig, parseReinforcePlusPlusConfig, parseRLOOConfig, reinforcePlusPlusConfig, ReinforcePlusPlusTrainer, rlooConfig, RLOOTrainer,
  type GRPOConfigInput, type ReinforcePlusPlusConfigInput, type RLOOConfigInput,
} from '@espalier/grpo';
import { onlineDpoConfig, OnlineDPOTrainer, parseOnlineDPOConfig, type OnlineDPOConfigInput } from '@espalier/dpo';
import { parsePPOConfig, ppoConfig, PPOTrainer, type PPOConfigInput } from '@espalier/ppo';
import type { DatasetInput } from '@espalier/trainer';
import { onlineStage, type OnlineRecipe, type OnlineStage, type OnlineStageOptions } from './online-stage';

export type GrpoStageOptions = OnlineStageOptions<GRPOConfigInput>;
export type RlooStageOptions = OnlineStageOptions<RLOOConfigInput>;
export type ReinforceStageOptions = OnlineStageOptions<ReinforcePlusPlusConfigInput>;
export type OnlineDpoStageOptions = OnlineStageOptions<OnlineDPOConfigInput>;
/** The fields of `PPOConfig` and those of every training stage. */
export type PpoStageOptions = OnlineStageOptions<PPOConfigInput> & { /** Rows of the language-model loss that `ptxCoef` weighs. */ ptxDataset?: DatasetInput };

const recipes = {
  grpo: { name: 'grpo', shape: grpoConfig.shape, check: (config) => void parseGRPOConfig(config), create: (options) => new GRPOTrainer(options) },
  rloo: { name: 'rloo', shape: rlooConfig.shape, check: (config) => void parseRLOOConfig(config), create: (options) => new RLOOTrainer(options) },
  reinforce: { name: 'reinforce', shape: reinforcePlusPlusConfig.shape, check: (config) => void parseReinforcePlusPlusConfig(config), create: (options) => new ReinforcePlusPlusTrainer(options) },
  onlineDpo: { name: 'online-dpo', shape: onlineDpoConfig.shape, check: (config) => void parseOnlineDPOConfig(config), create: (options) => new OnlineDPOTrainer(options) },
  ppo: {
    name: 'ppo', shape: ppoConfig.shape, rows: ['ptxDataset'],
    check: (config) => void parsePPOConfig(config),
    create: (options, { ptxDataset }) => new PPOTrainer({ ...options, ...(ptxDataset === undefined ? {} : { ptxDataset: ptxDataset as DatasetInput }) }),
  },
} satisfies Record<string, OnlineRecipe>;

/**
 * Group-relative policy optimisation as a stage. Without `reward` the reward model that a stage before it gives scores.
 * @throws EspalierError `bad_config` for an unknown or wrong field, at once
 * @example
 * grpo({ dataset: 'sums.jsonl', reward: 'numeric', perDeviceTrainBatchSize: 32, numGenerations: 8, maxSteps: 60 })
 */
export const grpo = <const Options extends GrpoStageOptions>(options: Options): OnlineStage<Options> => onlineStage(options, recipes.grpo);

/** REINFORCE leave-one-out as a stage. @throws EspalierError `bad_config`, at once */
export const rloo = <const Options extends RlooStageOptions>(options: Options): OnlineStage<Options> => onlineStage(options, recipes.rloo);

/** REINFORCE++ as a stage. @throws EspalierError `bad_config`, at once */
export const reinforce = <const Options extends ReinforceStageOptions>(options: Options): OnlineStage<Options> => onlineStage(options, recipes.reinforce);

/** DPO on pairs that the policy samples as a stage. @throws EspalierError `bad_config`, at once */
export const onlineDpo = <const Options extends OnlineDpoStageOptions>(options: Options): OnlineStage<Options> => onlineStage(options, recipes.onlineDpo);

/** Proximal policy optimisation with a critic as a stage. Without `reward` the reward model that a stage before it gives scores. @throws EspalierError `bad_config`, at once */
export const ppo = <const Options extends PpoStageOptions>(options: Options): OnlineStage<Options> => onlineStage(options, recipes.ppo);
