import { parsePRMConfig, parseRewardConfig, prmConfig, PRMTrainer, rewardConfig, RewardTrainer } from '@espalier/reward-models';
import { offlineCommand } from './offline-command';
import { rewardAttackCommand } from './reward-attack';
import { rewardTryCommand } from './reward-try';

export const rewardCommand = () =>
  offlineCommand({
    name: 'reward', summary: 'a reward model from preferences; try and attack look at reward functions', config: rewardConfig.shape, accepted: ['preference'], shown: ['loss', 'accuracy', 'margin', 'grad_norm'],
    notes: 'Rows have `chosen` and `rejected`, with or without `prompt`; `margin` and `soft_label` where they are there.',
    check: (args) => void parseRewardConfig(args),
    create: (options) => new RewardTrainer(options),
  })
    .enablePositionalOptions() // `--reward`, `--dataset` and `--json` behind `try` and `attack` are theirs
    .addCommand(rewardTryCommand())
    .addCommand(rewardAttackCommand());

export const prmCommand = () =>
  offlineCommand({
    name: 'prm', summary: 'a process reward model from steps that are right or wrong', config: prmConfig.shape, accepted: ['stepwise_supervision'], shown: ['loss', 'accuracy', 'grad_norm'],
    notes: 'Rows have `prompt`, `completions` (the steps) and `labels`, one a step.',
    check: (args) => void parsePRMConfig(args),
    create: (options) => new PRMTrainer(options),
  });
