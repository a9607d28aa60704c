import { OnlineTrainer, type OnlineTrainerOptions } from '@espalier/trainer';
import { followingReference } from './reference';
import { rloo } from './rloo';
import { parseRLOOConfig, type RLOOConfigInput } from './rloo-config';

/** What {@link RLOOTrainer} takes. */
export interface RLOOTrainerOptions extends OnlineTrainerOptions {
  /** TRL's `RLOOConfig` in camelCase. */
  args?: RLOOConfigInput;
}

/**
 * REINFORCE leave-one-out, with TRL's vocabulary. The model is opened by the first call that needs it and closed by `close()`.
 *
 * @throws EspalierError `bad_config` that names every wrong field, batch sizes that do not divide included
 *
 * @example
 * const trainer = new RLOOTrainer({
 *   model: 'runs/sft/checkpoints/latest',
 *   rewardFuncs: numericReward(),
 *   args: { outputDir: 'runs/rloo', numGenerations: 4, perDeviceTrainBatchSize: 32, maxCompletionLength: 24, learningRate: 5e-6, maxSteps: 60 },
 *   trainDataset: 'train.jsonl',
 * });
 * await trainer.train();
 * await trainer.close();
 */
export class RLOOTrainer extends OnlineTrainer {
  constructor(options: RLOOTrainerOptions) {
    const args = parseRLOOConfig(options.args);
    super(options, { name: 'rloo', args, algorithm: rloo(args), ...followingReference(options, args) });
  }
}
