import type { Engine } from '@espalier/engine';
import { OfflineTrainer, type OfflineTrainerOptions } from '@espalier/trainer';
import { parseDPOConfig, type DPOConfigInput } from './config';
import { dpoObjective } from './objective';
import { concatenated, packPreferences } from './pack';
import { Reference, type Precomputed } from './reference';
import { rowContext } from './row-context';
import { tokenizePreference, type PreferenceExample } from './rows';

/** What {@link DPOTrainer} takes. */
export interface DPOTrainerOptions extends OfflineTrainerOptions {
  /** TRL's `DPOConfig` in camelCase. */
  args?: DPOConfigInput;
  /** The reference, when it is not the policy's first weights: a folder, a file, a hub id, or an engine, which stays open on `close()`. */
  refModel?: string | Engine;
}

/**
 * Direct preference optimisation and its relatives, with TRL's vocabulary. Rows: `chosen` and `rejected`, text or messages, with or without `prompt`. The
 * model is opened by the first call that needs it and closed by `close()`.
 *
 * The reference is a frozen copy of the first weights (whose log-probs of a row are computed in its first epoch and remembered, on the backend `native`); with an adapter the weights below it, at no cost; with `precomputeRefLogProbs` numbers computed
 * before training; with `syncRefModel` a copy that follows; or `refModel`.
 *
 * @throws EspalierError `bad_config` that names every wrong field
 *
 * @example
 * const trainer = new DPOTrainer({ model: 'runs/sft/checkpoints/latest', trainDataset: 'preferences.jsonl', evalDataset: 'held-out.jsonl', args: { outputDir: 'runs/dpo', beta: 0.1, learningRate: 1e-6 } });
 * await trainer.train();
 * console.log((await trainer.evaluate())['rewards/accuracies']);
 * await trainer.close();
 */
export class DPOTrainer extends OfflineTrainer<PreferenceExample> {
  private readonly reference: Reference;

  constructor(options: DPOTrainerOptions) {
    const args = parseDPOConfig(options.args);
    const reference = new Reference({ refModel: options.refModel, modelArgs: options.modelArgs, args, inline: options.inline });
    super(options, {
      name: 'dpo',
      args,
      objective: dpoObjective(args),
      needsReference: reference.needsCopy,
      prepare(row, policy, origin) {
        const { tokenizer, maxLength } = rowContext(policy, args.maxLength);
        return tokenizePreference(row, tokenizer, { maxLength, truncationMode: args.truncationMode, softLabels: true, origin });
      },
      collate: (examples) => packPreferences(examples),
      async complete(batch, examples, { learner, signal }) {
        if (batch.columns.refLogps) return batch;
        const refLogps = await reference.logps(learner, batch, signal);
        if (reference.standsStill(learner)) remember(examples, refLogps); // for the next epoch, or the next evaluation
        return { ...batch, columns: { ...batch.columns, refLogps } };
      },
      async ready({ policy, examples, evalExamples, ...call }) {
        if (!args.precomputeRefLogProbs) return;
        const { precomputeRefBatchSize: size, perDeviceTrainBatchSize, perDeviceEvalBatchSize } = args;
        await reference.precompute(policy, [{ examples, batchSize: size ?? perDeviceTrainBatchSize }, { examples: evalExamples, batchSize: size ?? perDeviceEvalBatchSize }], ofPairs, call);
      },
      callbacks: (policy) => reference.callbacks(policy),
      config: () => reference.config,
    });
    this.reference = reference;
  }

  override async close(): Promise<void> {
    await super.close();
    await this.reference.close();
  }
}

/** Actions of a pair's two completions: their tokens, but for one that nothing precedes. */
const sizes = ({ prompt, chosen, rejected, rejectedPrompt }: PreferenceExample) => {
  const without = (before: Int32Array) => (before.length > 0 ? 0 : 1);
  return [chosen.length - without(prompt), rejected.length - without(rejectedPrompt ?? prompt)] as const;
};

const ofPairs: Precomputed<PreferenceExample> = {
  tokens: ({ prompt, chosen, rejected, rejectedPrompt }) => [prompt, chosen, rejected, ...(rejectedPrompt ? [rejectedPrompt] : [])],
  size: (example) => sizes(example)[0] + sizes(example)[1],
  get: ({ refLogps }) => (refLogps ? concatenated([refLogps.chosen, refLogps.rejected]) : null),
  set(example, numbers) {
    const [chosen] = sizes(example);
    example.refLogps = { chosen: numbers.slice(0, chosen), rejected: numbers.slice(chosen) };
  },
  compute: async (examples, logps) => divided(examples, await logps(packPreferences(examples))),
};

/** The numbers of a batch by example: completions stand in the order of the examples. */
function divided(examples: readonly PreferenceExample[], numbers: Float32Array): Float32Array[] {
  let at = 0;
  return examples.map((example) => numbers.slice(at, (at += ofPairs.size(example))));
}

function remember(examples: readonly PreferenceExample[], numbers: Float32Array): void {
  const each = divided(examples, numbers);
  examples.forEach((example, i) => ofPairs.set(example, each[i]));
}
