import { OfflineTrainer, type OfflineTrainerOptions } from '@espalier/trainer';
import { parseORPOConfig, type ORPOConfigInput } from './config';
import { orpoObjective } from './objective';
import { packPreferences } from './pack';
import { rowContext } from './row-context';
import { tokenizePreference, type PreferenceExample } from './rows';

/** What {@link ORPOTrainer} takes. */
export interface ORPOTrainerOptions extends OfflineTrainerOptions {
  /** TRL's `ORPOConfig` in camelCase. */
  args?: ORPOConfigInput;
}

/**
 * Odds-ratio preference optimisation, with TRL's vocabulary: supervised fine-tuning on what was chosen (its prompt included, as in TRL) and preference in
 * one stage, without a reference. Rows as for `CPOTrainer`.
 *
 * @throws EspalierError `bad_config` that names every wrong field
 *
 * @example
 * const trainer = new ORPOTrainer({ model: 'my-model', trainDataset: 'preferences.jsonl', args: { outputDir: 'runs/orpo', beta: 0.1, learningRate: 8e-6 } });
 * await trainer.train();
 * await trainer.close();
 */
export class ORPOTrainer extends OfflineTrainer<PreferenceExample> {
  constructor(options: ORPOTrainerOptions) {
    const args = parseORPOConfig(options.args);
    super(options, {
      name: 'orpo',
      args,
      objective: orpoObjective(args),
      prepare(row, policy, origin) {
        const { tokenizer, maxLength } = rowContext(policy, args.maxLength);
        return tokenizePreference(row, tokenizer, { maxLength, bosAndEos: true, origin });
      },
      collate: (examples) => packPreferences(examples, { promptActions: true }),
    });
  }
}
