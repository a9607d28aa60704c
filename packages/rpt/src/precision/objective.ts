import type { Engine } from '@espalier/engine';
import { EspalierError } from '@espalier/spec';
import { datasetDigest, lmLoss, OfflineTrainer, openDataset, type Json } from '@espalier/trainer';
import { klObjective } from '../kl';
import { defineRPTObjective } from '../objective';
import { precisionFields } from './fields';
import { precisionObjective } from './precision-objective';
import { packSolutions, solutionOf, type Solution, type SolutionTokenizer } from './solutions';

/**
 * Precision learning (AlphaCode, Li et al. 2022, 2203.07814): solutions that were judged, `{ prompt, completion, correct }`, trained on with GOLD's weights and tempered
 * logits, their correctness written into the prompt, and predicted by a head if asked for. Nothing is sampled.
 */
export const precisionLearning = defineRPTObjective({
  name: 'precision',
  summary: 'solutions that were judged: GOLD weights, tempering, value conditioning and prediction (AlphaCode)',
  fields: precisionFields,
  takes: { algorithm: 'never', rewards: 'never' },
  rows: ['unpaired_preference', 'prompt_completion'],
  check(options, args) {
    if (args.klPlacement === 'reward' && args.klCoef > 0) throw new EspalierError('bad_config', '`kl_placement` is reward, and objective precision has no rewards', { fix: '`kl_placement` loss' });
    if (args.klTarget !== undefined) throw new EspalierError('bad_config', '`kl_target` steers the divergence of completions, and objective precision samples none', { fix: 'a fixed `kl_coef`' });
    if (args.klEstimator === 'k1' && args.klCoef > 0) throw new EspalierError('bad_config', '`kl_estimator` k1 in the loss has a derivative whose expectation is zero', { fix: 'k2 or k3' });
    if (args.valueCoef > 0 && typeof options.model !== 'string' && !options.model.learner.capabilities.outputs.includes('scores')) throw new EspalierError('bad_config', '`value_coef` needs a scalar head, and the engine given has none', { fix: 'open it with `scalarHead: true`' });
  },
  create({ options, args }) {
    const { klCoef, klEstimator = 'k3', lmLossCoef, temper, valueCoef } = args;
    const plain = precisionObjective({ gold: args.gold, power: args.goldPower, floor: args.goldFloor, valueCoef });
    const withKl = klCoef > 0 ? klObjective(plain, klEstimator as 'k2' | 'k3', () => klCoef) : plain;
    const dataset = options.lmDataset === undefined ? null : openDataset(options.lmDataset, 'lmDataset');
    dataset?.catch(() => undefined); // told by the first call that needs it
    const trainer = new OfflineTrainer<Solution>(options, {
      name: 'rpt',
      args,
      objective: withKl,
      needsReference: klCoef > 0,
      temperature: temper,
      ...(valueCoef > 0 ? { engine: { scalarHead: true } } : {}),
      prepare: (row, { engine }, origin) =>
        solutionOf(row, solutionTokenizer(engine), { maxLength: Math.min(args.maxSolutionLength, engine.info.maxPositions), valueTemplate: args.valueConditioning ? args.valueTemplate : null, keepWrong: valueCoef > 0, origin }),
      collate: packSolutions,
      ...(klCoef > 0
        ? {
            complete: async (batch, _solutions, { learner, signal }) =>
              batch.actionIndex.length === 0 ? batch : { ...batch, columns: { ...batch.columns, refLogps: (await learner.forward(batch, ['logps'], { signal, temperature: temper, reference: true })).logps! } },
          }
        : {}),
      auxiliary: async ({ engine }) => (dataset ? [lmLoss({ coefficient: lmLossCoef, dataset: await dataset, batchSize: args.lmBatchSize, maxLength: Math.min(args.lmMaxLength, engine.info.maxPositions), seed: args.dataSeed ?? args.seed }, lmTokenizer(engine))] : []),
      config: async (): Promise<Record<string, Json>> => (dataset ? { lmDataset: await datasetDigest(await dataset) } : {}),
    });
    return {
      train: (call) => trainer.train(call),
      evaluate: (call) => trainer.evaluate(call),
      plan: (model) => trainer.plan(model),
      saveModel: (dir, how) => trainer.saveModel(dir, how),
      close: () => trainer.close(),
      compute: ({ metrics: { num_tokens: tokens = 0 } }) => ({ generated: 0, forward: klCoef > 0 ? 2 * tokens : tokens, backward: tokens }),
    };
  },
});

/** The engine's tokenizer, with the end-of-sequence token of the model where it names none itself. */
export function solutionTokenizer({ tokenizer, info }: Engine): SolutionTokenizer {
  return { encode: tokenizer.encode.bind(tokenizer), applyChatTemplate: tokenizer.applyChatTemplate.bind(tokenizer), eosTokenId: tokenizer.eosTokenId ?? info.eosTokenIds[0] ?? null };
}

function lmTokenizer(engine: Engine) {
  const { eosTokenId, ...rest } = solutionTokenizer(engine);
  return { ...rest, ...(eosTokenId === null || eosTokenId === undefined ? {} : { eosTokenId }) };
}
