import { EspalierError, type Metrics } from '@espalier/spec';
import { isConversational, Random } from '@espalier/data';
import type { Engine } from '@espalier/engine';
import { OfflineTrainer, type OfflineTrainerOptions, type Policy } from '@espalier/trainer';
import { isStopTokenTrained } from './assistant-mask';
import { parseSFTConfig, type SFTConfigInput } from './config';
import { sftObjective } from './objective';
import { packDocuments, type PackedRow } from './pack-documents';
import type { RowTokenizer } from './row-tokenizer';
import { packRows, tokenizeRow } from './rows';

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
export class SFTTrainer extends OfflineTrainer<PackedRow> {
  constructor(options: SFTTrainerOptions) {
    const args = parseSFTConfig(options.args);
    const { lossType, packing, packingStrategy, truncationMode, datasetTextField, completionOnlyLoss, assistantOnlyLoss } = args;
    const packs = { train: packing, eval: args.evalPacking ?? packing };
    /** A row is cut to what the model can see, whatever `maxLength` says. */
    const fits = ({ engine }: Policy) => Math.min(args.maxLength ?? Infinity, engine.info.maxPositions);
    const found = new Map<string, string>(); // notices, by name
    let checked = false;

    super(options, {
      name: 'sft',
      args,
      objective: sftObjective({ lossType }),
      neftuneNoiseAlpha: args.neftuneNoiseAlpha,
      prepare(row, policy, origin, set) {
        const tokenizer = rowTokenizer(policy.engine);
        if (!checked && isConversational(row)) {
          checked = true;
          const message = untrainedStop(tokenizer, assistantOnlyLoss);
          if (message !== null) found.set('stop_token_not_trained', message);
        }
        const tokenized = tokenizeRow(row, tokenizer, { maxLength: fits(policy), truncationMode, datasetTextField, completionOnlyLoss, assistantOnlyLoss, packing: packs[set], origin, onNotice: (name, message) => found.set(name, message) });
        return tokenized && { documents: [tokenized] };
      },
      arrange(rows, { set, policy }) {
        if (!packs[set]) return rows;
        const documents = rows.flatMap((row) => row.documents);
        const order = set === 'train' && args.shuffleDataset ? Array.from(new Random(args.seed, 0x9a).permutation(documents.length), (i) => documents[i]) : documents;
        const packed = packDocuments(order, fits(policy), packingStrategy);
        if (!packed.some((row) => row.documents.some(({ lossMask }) => lossMask.indexOf(1, 1) > 0))) throw new EspalierError('bad_data', 'no row has anything to train on once it is packed', { fix: 'a larger `max_length`; rows with a completion' });
        return packed;
      },
      collate: (rows) => packRows(rows.flatMap((row) => row.documents)),
      notices: () => noticesOf(found),
      roundNotices: () => noticesOf(found),
      derived: (metrics): Metrics => ('nll' in metrics ? { perplexity: Math.exp(metrics.nll) } : {}),
    });
  }
}

const noticesOf = (found: ReadonlyMap<string, string>) => Array.from(found, ([name, message]) => ({ name, level: 'warning' as const, message }));

const tokenizers = new WeakMap<Engine, RowTokenizer>();

/** The engine's tokenizer, with the end-of-sequence token of the model where it names none itself. */
function rowTokenizer(engine: Engine): RowTokenizer {
  const known = tokenizers.get(engine);
  if (known) return known;
  const { tokenizer } = engine;
  const made: RowTokenizer = {
    encode: (text, how) => tokenizer.encode(text, how),
    applyChatTemplate: (messages, how) => tokenizer.applyChatTemplate(messages, how),
    decode: (ids) => tokenizer.decode(ids),
    eosTokenId: tokenizer.eosTokenId ?? engine.info.eosTokenIds[0] ?? null,
    specialTokenIds: tokenizer.specialTokenIds,
    chatTemplate: tokenizer.chatTemplate,
  };
  tokenizers.set(engine, made);
  return made;
}

/** What to say when the end of the assistant's turn is left out of the loss, or is not there at all; null when it is trained on. */
function untrainedStop(tokenizer: RowTokenizer, assistantOnly: boolean): string | null {
  try {
    if (isStopTokenTrained(tokenizer, assistantOnly)) return null;
  } catch {
    return null; // a template that refuses the conversation it is asked about says nothing of others
  }
  return assistantOnly
    ? "the chat template leaves the token that ends the assistant's turn out of the loss: the model may never learn to stop, and the loss will not show it. Put it between `{% generation %}` and `{% endgeneration %}`, or leave `assistant_only_loss` out"
    : "the chat template ends the assistant's turn without a special token: the model has nothing to learn to stop by. Use a template that writes an end-of-turn token";
}
