import { datasetOf } from '@espalier/data';
import { EspalierError } from '@espalier/spec';
import { datasetDigest, type DatasetInput, type Json, type OpenLearnersContext } from '@espalier/trainer';
import { bindPolicy } from '../bind-policy';
import { corpusQuestions, type CorpusQuestion } from '../corpus-questions';
import { collectRows, corpusTexts, modelOnPaper, openCorpus } from '../corpus/corpus-texts';
import { openSideModel } from '../corpus/side-model';
import { defineRPTObjective, type ObjectiveSetup } from '../objective';
import { checkSampled, sampledRun } from '../sampled-run';
import { entropySplitRewards } from './entropy-splits';
import { nextTokenFields } from './fields';
import { predictionReward, type PredictionModel } from './prediction-reward';
import type { EntropyProxy } from './top-entropy';

/**
 * Reinforcement Pre-Training (Dong et al. 2025, 2506.08007): a position of a corpus is a question, the answer a thought and a prediction of what follows. With a
 * proxy only hard positions are asked about, and accuracy is reported by difficulty.
 */
export const nextTokenObjective = defineRPTObjective({
  name: 'next-token',
  summary: 'a thought, then the text that follows, at positions of a corpus (Microsoft RPT)',
  fields: nextTokenFields,
  takes: { algorithm: 'required', rewards: 'optional' },
  rows: ['language_modeling'],
  check(options, args) {
    if (args.questionTemplate !== undefined && !args.questionTemplate.includes('{context}')) throw new EspalierError('bad_config', '`question_template` does not contain {context}');
    checkSampled(args, options.algorithm!);
  },
  async create(setup) {
    const { options, args } = setup;
    const asksProxy = (args.minEntropy !== undefined || args.entropyProxy !== undefined) && !setup.onPaper; // a plan reads no weights: it takes all positions for hard
    const proxy = asksProxy ? await openSideModel(args.entropyProxy ?? options.model, setup) : null;
    let train: Questions;
    let evaluation: Questions | undefined;
    try {
      train = await questions(setup, options.trainDataset, 'trainDataset', proxy?.engine);
      evaluation = options.evalDataset === undefined ? undefined : await questions(setup, options.evalDataset, 'evalDataset', proxy?.engine);
    } finally {
      await proxy?.close();
    }
    let opened: PredictionModel | null = null;
    const model = () => {
      if (!opened) throw new EspalierError('internal', 'predictions are scored before the policy is open');
      return opened;
    };
    const reward = predictionReward({ kind: args.predictionReward, prediction: args.predictionFormat, endOfThinking: args.endOfThinking, model });
    return sampledRun(setup, {
      algorithm: args.predictionReward === 'prefix' ? options.algorithm! : bindPolicy(options.algorithm!, (context) => void (opened = predictionModelOf(context))),
      rewards: [{ reward, weight: 1 }, ...(proxy ? entropySplitRewards(reward) : [])],
      trainDataset: train.rows,
      ...(evaluation ? { evalDataset: evaluation.rows } : {}),
      config: { corpus: train.digest },
    });
  },
});

interface Questions {
  rows: DatasetInput;
  digest: Json;
}

async function questions(setup: ObjectiveSetup, input: DatasetInput, name: string, proxy: EntropyProxy | undefined): Promise<Questions> {
  const { args, signal } = setup;
  const { tokenizer } = await modelOnPaper(setup);
  const dataset = await openCorpus(input, name);
  const { positionsPerText, minContext, maxContext, predictionHorizon: horizon, minEntropy, entropyTopK, questionTemplate: template, questionFormat: format } = args;
  const made = corpusQuestions(corpusTexts(dataset, signal), tokenizer, {
    positionsPerText, minContext, maxContext, horizon, entropyTopK, format, seed: args.dataSeed ?? args.seed, signal,
    ...(template === undefined ? {} : { template }),
    ...(proxy ? { proxy, ...(minEntropy === undefined ? {} : { minEntropy }) } : {}),
  });
  const rows = await collectRows<CorpusQuestion>(made, dataset.name, minEntropy === undefined ? `texts of more than \`min_context\` ${minContext} tokens` : `longer texts, or a smaller \`min_entropy\` than ${minEntropy}`);
  return { rows: datasetOf(rows, dataset.name), digest: await datasetDigest(dataset) };
}

function predictionModelOf({ policy: { engine, learner } }: OpenLearnersContext): PredictionModel {
  return {
    encode: (text) => engine.tokenizer.encode(text, { addSpecialTokens: false }),
    logps: async (batch, signal) => (await learner.forward(batch, ['logps'], { signal })).logps!,
  };
}
