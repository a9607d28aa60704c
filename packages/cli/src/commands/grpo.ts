import { GRPOTrainer, grpoConfig, parseGRPOConfig, parseReinforcePlusPlusConfig, parseRLOOConfig, reinforcePlusPlusConfig, ReinforcePlusPlusTrainer, rlooConfig, RLOOTrainer } from '@espalier/grpo';
import { onlineCommand } from './online-command';

const notes = '--per-device-train-batch-size counts completions: 32 with --num-generations 8 are 4 prompts.';

export const grpoCommand = () =>
  onlineCommand({ name: 'grpo', summary: 'group-relative policy optimisation on rewards', config: grpoConfig.shape, notes, check: (args) => void parseGRPOConfig(args), create: (options) => new GRPOTrainer(options) });

export const rlooCommand = () =>
  onlineCommand({ name: 'rloo', summary: 'REINFORCE with leave-one-out baselines, on rewards', config: rlooConfig.shape, notes, check: (args) => void parseRLOOConfig(args), create: (options) => new RLOOTrainer(options) });

export const reinforceCommand = () =>
  onlineCommand({
    name: 'reinforce', summary: 'REINFORCE++ on rewards; with --baseline its variant on groups', config: reinforcePlusPlusConfig.shape, notes,
    check: (args) => void parseReinforcePlusPlusConfig(args),
    create: (options) => new ReinforcePlusPlusTrainer(options),
  });
