import { datasetOf } from '@espalier/data';
import { EspalierError, type Algorithm } from '@espalier/spec';
import { datasetDigest, roundGeometry, type DatasetInput, type Json, type OpenLearnersContext } from '@espalier/trainer';
import { bindPolicy } from '../bind-policy';
import type { RPTConfig } from '../config';
import { collectRows, corpusTexts, modelOnPaper, openCorpus } from '../corpus/corpus-texts';
import { defineRPTObjective, type ObjectiveSetup } from '../objective';
import { checkSampled, sampledRun } from '../sampled-run';
import type { RPTTrainerOptions } from '../trainer';
import { informationGainFields } from './fields';
import { informationGainReward, type GainModel } from './gain-reward';
import { gainRows } from './gain-rows';
import { thoughtAlgorithm } from './thought-algorithm';

const algorithmOf = (options: RPTTrainerOptions, args: RPTConfig): Algorithm =>
  options.algorithm ?? thoughtAlgorithm({ epsilon: args.gainEpsilon, ...(args.gainEpsilonHigh === undefined ? {} : { epsilonHigh: args.gainEpsilonHigh }), severalUpdates: roundGeometry(args, 1).updates > 1 });

/**
 * RLP (Hatamizadeh et al. 2025, 2510.01265): a thought before a position of a corpus is paid the log-prob of what follows that it adds, over a slow average of the
 * weights that does not think. The average starts at the first weights, moves after each optimiser step, and is saved with checkpoints.
 */
export const informationGainObjective = defineRPTObjective({
  name: 'information-gain',
  summary: 'thoughts that make the text that follows likelier (RLP)',
  fields: informationGainFields,
  takes: { algorithm: 'optional', rewards: 'optional' },
  rows: ['language_modeling'],
  check(options, args) {
    if (args.numGenerations < 2) throw new EspalierError('bad_config', '`num_generations` is 1, and a thought is compared with others of its position', { fix: 'at least 2; the paper takes 16' });
    checkSampled(args, algorithmOf(options, args));
  },
  async create(setup) {
    const { options, args } = setup;
    const train = await thoughtRows(setup, options.trainDataset, 'trainDataset');
    const evaluation = options.evalDataset === undefined ? undefined : await thoughtRows(setup, options.evalDataset, 'evalDataset');
    let opened: GainModel | null = null;
    const model = () => {
      if (!opened) throw new EspalierError('internal', 'thoughts are scored before the policy is open');
      return opened;
    };
    const ema = { decay: args.baselineDecay };
    return sampledRun(setup, {
      algorithm: bindPolicy(algorithmOf(options, args), async (context) => void (opened = await gainModelOf(context)), { ema }),
      rewards: [informationGainReward({ model, thoughtEnd: args.thoughtEnd })],
      trainDataset: train.rows,
      ...(evaluation ? { evalDataset: evaluation.rows } : {}),
      stop: [args.thoughtEnd, ...(options.stop ?? [])],
      config: { corpus: train.digest },
    });
  },
});

async function thoughtRows(setup: ObjectiveSetup, input: DatasetInput, name: string): Promise<{ rows: DatasetInput; digest: Json }> {
  const { args, signal } = setup;
  const { tokenizer, maxPositions } = await modelOnPaper(setup);
  const length = (text: string) => tokenizer.encode(text, { addSpecialTokens: false }).length;
  const room = maxPositions - args.maxCompletionLength - length(args.thoughtStart) - length(args.thoughtEnd) - args.gainTokens - 1;
  const dataset = await openCorpus(input, name);
  const rows = await collectRows(
    gainRows(corpusTexts(dataset, signal), tokenizer, { ...args, maxContext: Math.min(args.maxContext, room), seed: args.dataSeed ?? args.seed }),
    dataset.name,
    `texts of more than \`min_context\` ${args.minContext} tokens`,
  );
  return { rows: datasetOf(rows, dataset.name), digest: await datasetDigest(dataset) };
}

/** The policy's engine as both predictors. */
async function gainModelOf({ policy: { engine, learner }, model }: OpenLearnersContext): Promise<GainModel> {
  if (typeof model !== 'string') {
    await engine.useEma(true); // told now, and not at the first thought, when the engine keeps no average
    await engine.useEma(false);
  }
  const { tokenizer, info } = engine;
  return {
    policy: async (batch, signal) => (await learner.forward(batch, ['logps'], { signal })).logps!,
    async baseline(batch, signal) {
      await engine.useEma(true);
      try {
        return (await learner.forward(batch, ['logps'], { signal })).logps!;
      } finally {
        await engine.useEma(false);
      }
    },
    decode: (tokens) => tokenizer.decode(tokens, { skipSpecialTokens: false }),
    encode: (text) => tokenizer.encode(text, { addSpecialTokens: false }),
    eosTokenIds: info.eosTokenIds,
  };
}
