import { existsSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { NewModelConfig, Tokenizer } from '@espalier/models';
import { parseSFTConfig, sftConfig, type SFTConfigInput } from '@espalier/sft';
import { defineStage, EspalierError, type MetricsHandle, type PolicyHandle, type Stage } from '@espalier/spec';
import { digestPath } from '../digest';
import { withFingerprint } from '../fingerprint';
import { withPlan } from '../stage-plan';
import { modelArgsOf, requireOption, splitOptions, trainingOptionNames, type StageOwned, type TrainingStageOptions } from './options';
import { runSft, sftFingerprint, sftTrainer } from './sft';

export type PretrainStageOptions = TrainingStageOptions &
  Omit<SFTConfigInput, StageOwned> & {
    /** The new model's shape: `hiddenSize`, `numLayers`, `numHeads`, and whatever else should differ from the defaults. */
    model: NewModelConfig;
    /** A tokenizer, the folder to take one from, or `bytes`: one token a byte. Default `bytes`. */
    tokenizer?: Tokenizer | 'bytes' | (string & {});
  };

/**
 * Pre-training from nothing as a stage: a new decoder with random weights learns to predict the next token of plain text (rows with `text`).
 * @throws EspalierError `bad_config` for an unknown or wrong field, at once
 * @example
 * pretrain({ model: { hiddenSize: 128, numLayers: 4, numHeads: 4 }, dataset: 'corpus.jsonl', learningRate: 1e-3, maxSteps: 500 })
 */
export function pretrain(options: PretrainStageOptions): Stage<Record<never, never>, { policy: PolicyHandle; metrics: MetricsHandle }> {
  const name = options.name ?? 'pretrain';
  const { own, config } = splitOptions(name, options, [...trainingOptionNames, 'model', 'tokenizer'], sftConfig.shape);
  requireOption(name, own, 'dataset', 'a .jsonl file of rows with `text`, or rows');
  requireOption(name, own, 'model', 'its shape, such as { hidden_size: 128, num_layers: 4, num_heads: 4 }');
  const { model, tokenizer = 'bytes' } = options;
  if (typeof model !== 'object') throw new EspalierError('bad_config', `stage "${name}": \`model\` is ${JSON.stringify(model)}`, { fix: 'a shape, such as { hidden_size: 128, num_layers: 4, num_heads: 4 }; begin with `model` or startFrom() to train a model that exists' });
  parseSFTConfig(config as SFTConfigInput);
  const modelArgs = modelArgsOf(name, own);
  const stage = defineStage<Record<never, never>, { policy: PolicyHandle; metrics: MetricsHandle }>({
    name,
    needs: [],
    gives: ['policy', 'metrics'],
    async run(_input, context) {
      const initial = join(context.dir, 'initial');
      if (!existsSync(initial)) {
        const fresh = `${initial}.writing`;
        await rm(fresh, { recursive: true, force: true });
        const { byteTokenizer, createModel } = await import('@espalier/models'); // loaded when a model is
        await createModel(fresh, { config: model, tokenizer: tokenizer === 'bytes' ? byteTokenizer() : tokenizer, seed: (config['seed'] as number | undefined) ?? context.seed });
        await rename(fresh, initial);
      }
      return runSft(name, initial, options, config, modelArgs, context);
    },
  });
  withPlan(stage, async (context) => {
    const { byteTokenizer, newModelConfig, Tokenizer: reader } = await import('@espalier/models'); // loaded when a model is
    const spoken = typeof tokenizer !== 'string' ? tokenizer : tokenizer === 'bytes' ? byteTokenizer() : reader.fromFolder(tokenizer);
    const made = { reference: 'a new model', config: newModelConfig(model, spoken), tokenizer: spoken };
    return { run: await sftTrainer(made.reference, options, { seed: context.seed, ...config }, modelArgs).plan(made), model: made };
  });
  return withFingerprint(stage, async () => ({ ...((await sftFingerprint(options, config, modelArgs)) as object), model, tokenizer: await tokenizerFingerprint(tokenizer) }));
}

async function tokenizerFingerprint(tokenizer: Tokenizer | string): Promise<unknown> {
  if (typeof tokenizer === 'string') return existsSync(tokenizer) ? { folder: await digestPath(tokenizer) } : tokenizer;
  return { vocabulary: tokenizer.vocabSize, sample: Array.from(tokenizer.encode('0')) };
}
