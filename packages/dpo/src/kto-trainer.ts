import type { Engine } from '@espalier/engine';
import { OfflineTrainer, type OfflineTrainerOptions } from '@espalier/trainer';
import type { Metrics, Notice, TokenBatch } from '@espalier/spec';
import { parseKTOConfig, type KTOConfigInput } from './config';
import { klReference } from './kto-loss';
import { ktoObjective } from './objective';
import { concatenated, packKl, packUnpaired } from './pack';
import { Reference, type Precomputed } from './reference';
import { rowContext } from './row-context';
import { inUnpairedOrder, tokenizeUnpaired, withKlCompletions, type UnpairedExample } from './rows';

/** What {@link KTOTrainer} takes. */
export interface KTOTrainerOptions extends OfflineTrainerOptions {
  /** TRL's `KTOConfig` in camelCase. */
  args?: KTOConfigInput;
  /** The reference, when it is not the policy's first weights. */
  refModel?: string | Engine;
}

/**
 * Kahneman–Tversky optimisation from completions that are labelled good or bad, with TRL's vocabulary. Rows: `prompt`, `completion`, `label`; preference
 * rows are taken apart, of every 1000 the chosen completions first, as TRL does.
 *
 * The loss measures rewards from z, the KL to the reference, which is estimated without a gradient from prompts with the completion of the row before.
 * Like TRL's, the estimate is that of one micro-batch of `perDeviceTrainBatchSize` rows: larger micro-batches estimate it better, so 8 × 1 is not
 * 4 × 2, and rows are taken in their order.
 *
 * @throws EspalierError `bad_config` that names every wrong field
 *
 * @example
 * const trainer = new KTOTrainer({ model: 'runs/sft/checkpoints/latest', trainDataset: 'feedback.jsonl', args: { outputDir: 'runs/kto', desirableWeight: 1.33 } });
 * await trainer.train();
 * await trainer.close();
 */
export class KTOTrainer extends OfflineTrainer<UnpairedExample> {
  private readonly reference: Reference;

  constructor(options: KTOTrainerOptions) {
    const args = parseKTOConfig(options.args);
    const reference = new Reference({ refModel: options.refModel, modelArgs: options.modelArgs, args, inline: options.inline });
    const needsKl = args.lossType === 'kto';
    let limit: number | null = args.maxLength; // known when the model is
    let balance: { desirable: number; undesirable: number } | null = null; // of the training rows, which are arranged first
    const ofCompletions = precomputed(needsKl, () => limit);
    super(options, {
      name: 'kto',
      args,
      objective: ktoObjective(args),
      shuffle: args.trainSamplingStrategy === 'random',
      needsReference: reference.needsCopy,
      prepare(row, policy, origin) {
        const { tokenizer, maxLength } = rowContext(policy, args.maxLength);
        limit = maxLength;
        return tokenizeUnpaired(row, tokenizer, { maxLength, origin });
      },
      arrange: (examples) => {
        const desirable = examples.filter(({ label }) => label).length;
        balance ??= { desirable, undesirable: examples.length - desirable };
        const ordered = inUnpairedOrder(examples);
        return needsKl ? withKlCompletions(ordered, args.perDeviceTrainBatchSize) : ordered;
      },
      collate: (examples) => packUnpaired(examples),
      async complete(batch, examples, { learner, signal }): Promise<TokenBatch> {
        const known = batch.columns.refLogps;
        if (!needsKl) return known ? batch : { ...batch, columns: { ...batch.columns, refLogps: await reference.logps(learner, batch, signal) } };
        const mismatched = packKl(examples, { own: false, maxLength: limit });
        const policy = (await learner.forward(mismatched.batch, ['logps'], { signal })).logps!;
        const numbers = known ? null : await referenceOf(examples, limit, (both) => reference.logps(learner, both, signal));
        const z = klReference(mismatched.kl.map((range) => sumOf(policy, range)), numbers ? numbers.kl : examples.map(({ refKlLogp }) => refKlLogp!));
        const kl = new Float32Array(batch.actionIndex.length).fill(z);
        return { ...batch, columns: { ...batch.columns, kl, refLogps: numbers ? concatenated(numbers.own) : known } };
      },
      async ready({ policy, examples, evalExamples, ...call }) {
        if (!args.precomputeRefLogProbs) return;
        const { precomputeRefBatchSize: size, perDeviceTrainBatchSize, perDeviceEvalBatchSize } = args;
        await reference.precompute(policy, [{ examples, batchSize: size ?? perDeviceTrainBatchSize }, { examples: evalExamples, batchSize: size ?? perDeviceEvalBatchSize }], ofCompletions, call);
      },
      notices: () => (balance ? imbalance(balance, args) : []),
      // Over all evaluation rows both labels are there, whatever the batches hold.
      derived: (metrics): Metrics => ('rewards/chosen' in metrics && 'rewards/rejected' in metrics ? { 'rewards/margins': metrics['rewards/chosen'] - metrics['rewards/rejected'] } : {}),
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

/** Weighted, the two labels should count alike or the desirable ones a third more (2402.01306 eq. 8). */
export function imbalance(count: { desirable: number; undesirable: number }, weights: { desirableWeight: number; undesirableWeight: number }): Omit<Notice, 'step'>[] {
  const [good, bad] = [Math.max(count.desirable, 1), Math.max(count.undesirable, 1)];
  if (good === bad || weights.undesirableWeight === 0) return [];
  const ratio = (good * weights.desirableWeight) / (bad * weights.undesirableWeight);
  if (ratio >= 1 - 1e-2 && ratio <= 1.33 + 1e-2) return [];
  const range = (low: number, high: number) => `[${low.toFixed(2)}, ${high.toFixed(2)}]`;
  const desirable = (bad * weights.undesirableWeight) / good;
  const undesirable = (good * weights.desirableWeight) / bad;
  const message = `${count.desirable} completions are desirable and ${count.undesirable} are not, and their weights do not even that out: \`desirable_weight\` in ${range(desirable, desirable * 1.33)} or \`undesirable_weight\` in ${range(undesirable / 1.33, undesirable)} would`;
  return [{ name: 'unbalanced_labels', level: 'warning', message }];
}

const sumOf = (values: Float32Array, [start, end]: readonly [number, number]): number => values.subarray(start, end).reduce((a, b) => a + b, 0);

/** The reference's numbers of each example: its completion's tokens, and the sum over the other's. One pass computes each prompt once for both. */
async function referenceOf(examples: readonly UnpairedExample[], maxLength: number | null, logps: (batch: TokenBatch) => Promise<Float32Array>): Promise<{ own: Float32Array[]; kl: number[] }> {
  const both = packKl(examples, { own: true, maxLength });
  const numbers = await logps(both.batch);
  return { own: both.own.map(([start, end]) => numbers.slice(start, end)), kl: both.kl.map((range) => sumOf(numbers, range)) };
}

function precomputed(needsKl: boolean, maxLength: () => number | null): Precomputed<UnpairedExample> {
  const own = ({ prompt, completion }: UnpairedExample) => completion.length - (prompt.length > 0 ? 0 : 1);
  return {
    tokens: ({ prompt, completion, klCompletion }) => [prompt, completion, ...(klCompletion ? [klCompletion] : [])],
    size: (example) => own(example) + Number(needsKl),
    get: ({ refLogps, refKlLogp }) => (refLogps ? concatenated([refLogps, ...(needsKl ? [Float32Array.of(refKlLogp!)] : [])]) : null),
    set(example, numbers) {
      example.refLogps = numbers.slice(0, own(example));
      if (needsKl) example.refKlLogp = numbers[own(example)];
    },
    async compute(examples, logps) {
      if (needsKl) {
        const found = await referenceOf(examples, maxLength(), logps);
        return found.own.map((numbers, i) => concatenated([numbers, Float32Array.of(found.kl[i])]));
      }
      const numbers = await logps(packUnpaired(examples));
      let at = 0;
      return examples.map((example) => numbers.slice(at, (at += own(example))));
    },
  };
}
