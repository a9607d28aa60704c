import type { Metrics } from '@espalier/spec';
import { OfflineTrainer, type OfflineTrainerOptions } from '@espalier/trainer';
import { parseSFTConfig, type SFTConfigInput } from './config';
import { sftObjective } from './objective';
import { packRows, tokenizeRow, type TokenizedRow } from './rows';

/** What {@link SFTTrainer} takes. */
export interface SFTTrainerOptions extends OfflineTrainerOptions {
  /** TRL's `SFTConfig` in camelCase. */
  args?: SFTConfigInput;
}

/**
 * Supervised fine-tuning, and pre-training when the rows are plain text, with TRL's vocabulary. Rows: `text`, `messages`, or `prompt` and
 * `completion`. The model is opened by the first call that needs it and closed by `close()`.
 *
 * @throws EspalierError `bad_config` that names every wrong field
 *
 * @example
 * const trainer = new SFTTrainer({ model: 'my-model', trainDataset: 'train.jsonl', evalDataset: 'held-out.jsonl', args: { outputDir: 'runs/sft', learningRate: 2e-5, numTrainEpochs: 1 } });
 * const { checkpoint } = await trainer.train();
 * console.log((await trainer.evaluate()).perplexity);
 * await trainer.close();
 */
export class SFTTrainer extends OfflineTrainer<TokenizedRow> {
  constructor(options: SFTTrainerOptions) {
    const args = parseSFTConfig(options.args);
    const { maxLength, truncationMode, datasetTextField, completionOnlyLoss, lossType } = args;
    super(options, {
      name: 'sft',
      args,
      objective: sftObjective({ lossType }),
      prepare(row, { engine }, origin) {
        const { eosTokenIds, maxPositions } = engine.info;
        const { tokenizer } = engine;
        const eosTokenId = tokenizer.eosTokenId ?? eosTokenIds[0] ?? null;
        // A row is cut to what the model can see, whatever `maxLength` says.
        const fits = Math.min(maxLength ?? maxPositions, maxPositions);
        return tokenizeRow(row, { encode: (text, how) => tokenizer.encode(text, how), applyChatTemplate: (messages, how) => tokenizer.applyChatTemplate(messages, how), eosTokenId }, { maxLength: fits, truncationMode, datasetTextField, completionOnlyLoss, origin });
      },
      collate: (rows) => packRows(rows),
      derived: (metrics): Metrics => ('nll' in metrics ? { perplexity: Math.exp(metrics.nll) } : {}),
    });
  }
}
