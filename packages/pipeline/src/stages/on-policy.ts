import {
  GRPOTrainer, grpoConfig, parseGRPOConfig, parseReinforcePlusPlusConfig, parseRLOOConfig, reinforcePlusPlusConfig, ReinforcePlusPlusTrainer, rlooConfig, RLOOTrainer,
  type GRPOConfigInput, type ReinforcePlusPlusConfigInput, type RLOOConfigInput,
} from '@espalier/grpo';
import { onlineDpoConfig, OnlineDPOTrainer, parseOnlineDPOConfig, type OnlineDPOConfigInput } from '@espalier/dpo';
import { parsePPOConfig, ppoConfig, PPOTrainer, type PPOConfigInput } from '@espalier/ppo';
import type { DatasetInput } from '@espalier/trainer';
import type { CheckedOptions } from '../checked-options';
import { onlineStage, type OnlineRecipe, type OnlineStage, type OnlineStageOptions } from './online-stage';

export type GrpoStageOptions = OnlineStageOptions<GRPOConfigInput>;
export type RlooStageOptions = OnlineStageOptions<RLOOConfigInput>;
export type ReinforceStageOptions = OnlineStageOptions<ReinforcePlusPlusConfigInput>;
export type OnlineDpoStageOptions = OnlineStageOptions<OnlineDPOConfigInput>;
/** The fields of `PPOConfig` and those of every training stage. */
export type PpoStageOptions = OnlineStageOptions<PPOConfigInput> & { /** Rows of the language-model loss that `ptxCoef` weighs. */ ptxDataset?: DatasetInput };

const recipes = {
  grpo: { name: 'grpo' as const, shape: grpoConfig.shape, check: (config) => void parseGRPOConfig(config), create: (options) => new GRPOTrainer(options) },
  rloo: { name: 'rloo' as const, shape: rlooConfig.shape, check: (config) => void parseRLOOConfig(config), create: (options) => new RLOOTrainer(options) },
  reinforce: { name: 'reinforce' as const, shape: reinforcePlusPlusConfig.shape, check: (config) => void parseReinforcePlusPlusConfig(config), create: (options) => new ReinforcePlusPlusTrainer(options) },
  onlineDpo: { name: 'online-dpo' as const, shape: onlineDpoConfig.shape, check: (config) => void parseOnlineDPOConfig(config), create: (options) => new OnlineDPOTrainer(options) },
  ppo: {
    name: 'ppo' as const, shape: ppoConfig.shape, rows: ['ptxDataset'],
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
export const grpo = <const Options extends GrpoStageOptions>(options: CheckedOptions<Options, GrpoStageOptions>): OnlineStage<Options, 'grpo'> => onlineStage(options as Options, recipes.grpo);

/** REINFORCE leave-one-out as a stage. @throws EspalierError `bad_config`, at once */
export const rloo = <const Options extends RlooStageOptions>(options: CheckedOptions<Options, RlooStageOptions>): OnlineStage<Options, 'rloo'> => onlineStage(options as Options, recipes.rloo);

/** REINFORCE++ as a stage. @throws EspalierError `bad_config`, at once */
export const reinforce = <const Options extends ReinforceStageOptions>(options: CheckedOptions<Options, ReinforceStageOptions>): OnlineStage<Options, 'reinforce'> => onlineStage(options as Options, recipes.reinforce);

/** DPO on pairs that the policy samples as a stage. @throws EspalierError `bad_config`, at once */
export const onlineDpo = <const Options extends OnlineDpoStageOptions>(options: CheckedOptions<Options, OnlineDpoStageOptions>): OnlineStage<Options, 'online-dpo'> => onlineStage(options as Options, recipes.onlineDpo);

/** Proximal policy optimisation with a critic as a stage. Without `reward` the reward model that a stage before it gives scores. @throws EspalierError `bad_config`, at once */
export const ppo = <const Options extends PpoStageOptions>(options: CheckedOptions<Options, PpoStageOptions>): OnlineStage<Options, 'ppo'> => onlineStage(options as Options, recipes.ppo);
