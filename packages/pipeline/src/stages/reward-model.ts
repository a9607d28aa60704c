import { parseRewardConfig, rewardConfig, RewardTrainer, type RewardConfigInput } from '@espalier/reward-models';
import type { CheckedOptions } from '../checked-options';
import { rewardStage, type RewardStage, type WithRows } from './offline-stage';

/** The fields of `RewardConfig` and those of every training stage. */
export type RewardModelStageOptions = WithRows<RewardConfigInput>;

/**
 * A reward model from preferences as a stage: begins with the policy's weights, gives `reward` to the stages after it, and leaves the policy as it is.
 * @throws EspalierError `bad_config` for an unknown or wrong field, at once
 * @example
 * pipeline(startFrom('my-model'), rewardModel({ dataset: 'preferences.jsonl', maxSteps: 200 }), ppo({ dataset: 'prompts.jsonl', maxSteps: 60 }))
 */
export const rewardModel = <const Options extends RewardModelStageOptions>(options: CheckedOptions<Options, RewardModelStageOptions>): RewardStage<Options> =>
  rewardStage(options as Options, { name: 'reward-model', shape: rewardConfig.shape, check: (config) => void parseRewardConfig(config), create: (trainer) => new RewardTrainer(trainer) });
