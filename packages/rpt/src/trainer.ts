import { EspalierError, type Algorithm } from '@espalier/spec';
import { datasetDigest, OnlineTrainer, openDataset, type DatasetInput, type Json, type OnlineTrainerOptions, type StatefulAlgorithm } from '@espalier/trainer';
import { parseRPTConfig, type RPTConfigInput } from './config';
import { lmLoss } from './lm-loss';
import { rpt } from './rpt';

/** What {@link RPTTrainer} takes. */
export interface RPTTrainerOptions extends OnlineTrainerOptions {
  /** Any on-policy algorithm. Its group size and batch sizes are those of `args`. */
  algorithm: Algorithm | StatefulAlgorithm;
  args?: RPTConfigInput;
  /** Rows of the language-model loss, which `lmLossCoef` weighs. */
  lmDataset?: DatasetInput;
  /** What the algorithm was made of, for the record: a resumed run must have the same. */
  algorithmConfig?: Json;
}

/**
 * Reinforcement pre-training: rollouts, verifiable rewards, any algorithm; KL and language-model-loss options. The model is opened by the first
 * call that needs it and closed by `close()`.
 *
 * @throws EspalierError `bad_config` that names every wrong field, batch sizes that do not divide included
 *
 * @example
 * const trainer = new RPTTrainer({
 *   model: 'SmolLM2-135M-Instruct.Q4_1.gguf',
 *   algorithm: grpo({ numGenerations: 8 }),
 *   rewardFuncs: numericReward(),
 *   trainDataset: 'train.jsonl',
 *   args: { outputDir: 'runs/rpt', perDeviceTrainBatchSize: 32, numGenerations: 8, maxCompletionLength: 24, maxSteps: 60, klCoef: 0.01 },
 * });
 * await trainer.train();
 * await trainer.close();
 */
export class RPTTrainer extends OnlineTrainer {
  constructor(options: RPTTrainerOptions) {
    const args = parseRPTConfig(options.args);
    const { klCoef, klPlacement, klEstimator, klTarget, klHorizon, lmLossCoef, lmBatchSize, lmMaxLength } = args;
    const { lmDataset, algorithmConfig } = options;
    if (lmLossCoef > 0 && lmDataset === undefined) throw new EspalierError('bad_config', `\`lm_loss_coef\` is ${lmLossCoef} and there is no \`lm_dataset\``, { fix: 'rows with `text`, or 0' });
    if (lmLossCoef === 0 && lmDataset !== undefined) throw new EspalierError('bad_config', '`lm_dataset` is given and `lm_loss_coef` is 0', { fix: 'a positive weight, 0.1 for one' });
    const dataset = lmDataset === undefined ? null : openDataset(lmDataset, 'lmDataset');
    dataset?.catch(() => undefined); // told by the first call that needs it
    super(options, {
      name: 'rpt',
      args,
      algorithm: rpt({
        algorithm: options.algorithm,
        kl: { coefficient: klCoef, placement: klPlacement, estimator: klEstimator, ...(klTarget === undefined ? {} : { adaptive: { target: klTarget, horizon: klHorizon } }) },
      }),
      auxiliary: async ({ engine }) => {
        if (!dataset) return [];
        const { tokenizer, info } = engine;
        const encoder = { encode: tokenizer.encode.bind(tokenizer), applyChatTemplate: tokenizer.applyChatTemplate.bind(tokenizer), eosTokenId: tokenizer.eosTokenId ?? info.eosTokenIds[0] };
        return [lmLoss({ coefficient: lmLossCoef, dataset: await dataset, batchSize: lmBatchSize, maxLength: Math.min(lmMaxLength, info.maxPositions), seed: args.dataSeed ?? args.seed }, encoder)];
      },
      config: async () => ({ ...(dataset ? { lmDataset: await datasetDigest(await dataset) } : {}), ...(algorithmConfig === undefined ? {} : { algorithmConfig }) }),
    });
  }
}
