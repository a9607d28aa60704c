import { OfflineTrainer, type OfflineTrainerOptions } from '@espalier/trainer';
import { parseRewardConfig, type RewardConfigInput } from './config';
import { rewardObjective } from './objective';
import { packPairs, tokenizePair, type RewardExample } from './pairs';
import { tokenizing } from './tokenizing';

/** What {@link RewardTrainer} takes. An engine that is given must have been opened with `scalarHead: true`. */
export interface RewardTrainerOptions extends OfflineTrainerOptions {
  /** TRL's `RewardConfig` in camelCase. */
  args?: RewardConfigInput;
}

/**
 * A reward model from preferences (Bradley and Terry), with TRL's vocabulary. Rows: `chosen` and `rejected`, with `prompt` or without, as text or messages;
 * `margin` and `soft_label` where they are there. A model without a scalar head gets one from the seed. What is saved, `transformers` loads as
 * `AutoModelForSequenceClassification` with one label.
 *
 * @throws EspalierError `bad_config` that names every wrong field
 *
 * @example
 * const trainer = new RewardTrainer({ model: 'my-model', trainDataset: 'preferences.jsonl', args: { outputDir: 'runs/reward', centerRewardsCoefficient: 0.01 } });
 * await trainer.train();
 * await trainer.saveModel('my-reward-model');
 * await trainer.close();
 */
export class RewardTrainer extends OfflineTrainer<RewardExample> {
  constructor(options: RewardTrainerOptions) {
    const args = parseRewardConfig(options.args);
    const { maxLength, centerRewardsCoefficient } = args;
    super(options, {
      name: 'reward',
      args,
      objective: rewardObjective({ centerRewardsCoefficient }),
      engine: { scalarHead: true },
      prepare(row, { engine }, origin) {
        const { tokenizer, maxLength: fits } = tokenizing(engine, maxLength);
        return tokenizePair(row, tokenizer, { maxLength: fits, origin });
      },
      collate: (examples) => packPairs(examples),
    });
  }
}
