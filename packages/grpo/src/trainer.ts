import { OnlineTrainer, type OnlineTrainerOptions } from '@espalier/trainer';
import type { AdvantageFunction } from './advantage-function';
import { grpo } from './algorithm';
import { parseGRPOConfig, type GRPOConfigInput } from './config';
import { followingReference } from './reference';

/** What {@link GRPOTrainer} takes. */
export interface GRPOTrainerOptions extends OnlineTrainerOptions {
  /** TRL's `GRPOConfig` in camelCase. */
  args?: GRPOConfigInput;
  /** Advantages of one's own in place of the group's standard score: a function of groups and rewards. */
  advantages?: AdvantageFunction;
}

/**
 * Group-relative policy optimisation, with TRL's vocabulary. The model is opened by the first call that needs it and closed by `close()`.
 *
 * @throws EspalierError `bad_config` that names every wrong field, batch sizes that do not divide included
 *
 * @example
 * const trainer = new GRPOTrainer({
 *   model: 'SmolLM2-135M-Instruct.Q4_1.gguf',
 *   rewardFuncs: numericReward(),
 *   args: { outputDir: 'runs/sums', numGenerations: 8, perDeviceTrainBatchSize: 32, maxCompletionLength: 24, learningRate: 5e-6, maxSteps: 60 },
 *   trainDataset: 'train.jsonl',
 *   evalDataset: 'held-out.jsonl',
 * });
 * await trainer.train();
 * console.log((await trainer.evaluate()).accuracy);
 * await trainer.close();
 */
export class GRPOTrainer extends OnlineTrainer {
  constructor(options: GRPOTrainerOptions) {
    const args = parseGRPOConfig(options.args);
    const { advantages } = options;
    super(options, { name: 'grpo', args, algorithm: grpo(args, { advantages }), ...followingReference(options, args), ...(advantages ? { config: async () => ({ advantages: advantages.name || 'custom' }) } : {}) });
  }
}
