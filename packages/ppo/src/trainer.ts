import type { Engine } from '@espalier/engine';
import { EspalierError } from '@espalier/spec';
import { datasetDigest, lmLoss, OnlineTrainer, openDataset, type DatasetInput, type OnlineTrainerOptions } from '@espalier/trainer';
import { ppo } from './algorithm';
import { parsePPOConfig, type PPOConfigInput } from './config';

/** What {@link PPOTrainer} takes. */
export interface PPOTrainerOptions extends OnlineTrainerOptions {
  /** TRL's `PPOConfig` in camelCase. */
  args?: PPOConfigInput;
  /** The critic: a folder, a file, a hub id, or an engine with a scalar head, which stays open on `close()`. Default: `args.valueModel`, else the policy's own model. */
  valueModel?: string | Engine;
  /** Rows of the language-model loss, which `ptxCoef` weighs: `text`, `messages`, or `prompt` and `completion`. */
  ptxDataset?: DatasetInput;
}

/**
 * Proximal policy optimisation with a critic, with TRL's vocabulary. The models are opened by the first call that needs them and closed by `close()`.
 *
 * `maxSteps` counts batches of `perDeviceTrainBatchSize` × `gradientAccumulationSteps` completions, as TRL's PPO does; each takes `numPpoEpochs` × `numMiniBatches`
 * optimiser steps of the policy and of the critic.
 *
 * @throws EspalierError `bad_config` that names every wrong field, batch sizes that do not divide included
 *
 * @example
 * const trainer = new PPOTrainer({
 *   model: 'SmolLM2-135M-Instruct.Q4_1.gguf',
 *   rewardFuncs: numericReward(),
 *   trainDataset: 'train.jsonl',
 *   args: { outputDir: 'runs/ppo', perDeviceTrainBatchSize: 32, maxCompletionLength: 24, learningRate: 5e-6, maxSteps: 60 },
 * });
 * await trainer.train();
 * await trainer.close();
 */
export class PPOTrainer extends OnlineTrainer {
  constructor(options: PPOTrainerOptions) {
    const { valueModel, ptxDataset } = options;
    const args = parsePPOConfig({ ...options.args, ...(typeof valueModel === 'string' ? { valueModel } : {}) });
    const { ptxCoef, ptxBatchSize, ptxMaxLength } = args;
    if (ptxCoef > 0 && ptxDataset === undefined) throw new EspalierError('bad_config', `\`ptx_coef\` is ${ptxCoef} and there is no \`ptx_dataset\``, { fix: 'rows with `text`, or 0' });
    if (ptxCoef === 0 && ptxDataset !== undefined) throw new EspalierError('bad_config', '`ptx_dataset` is given and `ptx_coef` is 0', { fix: 'a positive weight' });
    const dataset = ptxDataset === undefined ? null : openDataset(ptxDataset, 'ptxDataset');
    dataset?.catch(() => undefined); // told by the first call that needs it
    super(options, {
      name: 'ppo',
      args,
      algorithm: ppo(args, typeof valueModel === 'object' ? { valueModel } : {}),
      auxiliary: async ({ engine }) => {
        if (!dataset) return [];
        const { tokenizer, info } = engine;
        const encoder = { encode: tokenizer.encode.bind(tokenizer), applyChatTemplate: tokenizer.applyChatTemplate.bind(tokenizer), eosTokenId: tokenizer.eosTokenId ?? info.eosTokenIds[0] };
        return [lmLoss({ coefficient: ptxCoef, dataset: await dataset, batchSize: ptxBatchSize, maxLength: Math.min(ptxMaxLength, info.maxPositions), seed: args.dataSeed ?? args.seed }, encoder)].map((loss) => ({ ...loss, prefix: 'ptx/' }));
      },
      config: async () => ({ ...(dataset ? { ptxDataset: await datasetDigest(await dataset) } : {}) }),
    });
  }
}
