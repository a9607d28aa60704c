import { OnlineTrainer, type OnlineTrainerOptions } from '@espalier/trainer';
import { reinforcePlusPlus } from './reinforce';
import { followingReference } from './reference';
import { parseReinforcePlusPlusConfig, type ReinforcePlusPlusConfigInput } from './reinforce-config';

/** What {@link ReinforcePlusPlusTrainer} takes. */
export interface ReinforcePlusPlusTrainerOptions extends OnlineTrainerOptions {
  args?: ReinforcePlusPlusConfigInput;
}

/**
 * REINFORCE++ and, with `baseline`, REINFORCE++-baseline. The model is opened by the first call that needs it and closed by `close()`.
 *
 * @throws EspalierError `bad_config` that names every wrong field, batch sizes that do not divide included
 *
 * @example
 * const trainer = new ReinforcePlusPlusTrainer({
 *   model: 'runs/sft/checkpoints/latest',
 *   rewardFuncs: numericReward(),
 *   args: { outputDir: 'runs/reinforce', baseline: true, numGenerations: 8, perDeviceTrainBatchSize: 32, maxCompletionLength: 24, maxSteps: 60 },
 *   trainDataset: 'train.jsonl',
 * });
 * await trainer.train();
 * await trainer.close();
 */
export class ReinforcePlusPlusTrainer extends OnlineTrainer {
  constructor(options: ReinforcePlusPlusTrainerOptions) {
    const args = parseReinforcePlusPlusConfig(options.args);
    super(options, { name: args.baseline ? 'reinforce-plus-plus-baseline' : 'reinforce-plus-plus', args, algorithm: reinforcePlusPlus(args), ...followingReference(options, args) });
  }
}
