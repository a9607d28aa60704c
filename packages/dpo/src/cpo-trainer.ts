import { OfflineTrainer, type OfflineTrainerOptions } from '@espalier/trainer';
import { parseCPOConfig, type CPOConfigInput } from './config';
import { cpoObjective } from './objective';
import { packPreferences } from './pack';
import { rowContext } from './row-context';
import { tokenizePreference, type PreferenceExample } from './rows';

/** What {@link CPOTrainer} takes. */
export interface CPOTrainerOptions extends OfflineTrainerOptions {
  /** TRL's `CPOConfig` in camelCase. */
  args?: CPOConfigInput;
}

/**
 * Contrastive preference optimisation, SimPO (`lossType: 'simpo', cpoAlpha: 0`) and AlphaPO (`'alphapo'`), with TRL's vocabulary: preferences without a
 * reference. Rows as for `DPOTrainer`; every prompt gets the beginning-of-sequence token and every completion the end-of-sequence token.
 *
 * @throws EspalierError `bad_config` that names every wrong field
 *
 * @example
 * const trainer = new CPOTrainer({ model: 'runs/sft/checkpoints/latest', trainDataset: 'preferences.jsonl', args: { outputDir: 'runs/simpo', lossType: 'simpo', cpoAlpha: 0, beta: 2, simpoGamma: 0.5 } });
 * await trainer.train();
 * await trainer.close();
 */
export class CPOTrainer extends OfflineTrainer<PreferenceExample> {
  constructor(options: CPOTrainerOptions) {
    const args = parseCPOConfig(options.args);
    super(options, {
      name: 'cpo',
      args,
      objective: cpoObjective(args),
      prepare(row, policy, origin) {
        const { tokenizer, maxLength } = rowContext(policy, args.maxLength);
        return tokenizePreference(row, tokenizer, { maxLength, bosAndEos: true, origin });
      },
      collate: (examples) => packPreferences(examples),
    });
  }
}
