import { datasetOf } from '@espalier/data';
import { localRolloutEngine, textModel } from '@espalier/rollouts';
import { EspalierError, type RewardFunction, type TextModel } from '@espalier/spec';
import { datasetDigest, type DatasetInput, type Json } from '@espalier/trainer';
import { collectRows, corpusTexts, modelOnPaper, openCorpus } from '../corpus/corpus-texts';
import { openSideModel } from '../corpus/side-model';
import { defineRPTObjective, type ObjectiveSetup } from '../objective';
import { checkSampled, sampledRun } from '../sampled-run';
import { nextSegmentFields } from './fields';
import { segmentJudgeReward } from './judge-reward';
import { segmentQuestions, type SegmentQuestion } from './segment-questions';
import { segmentSimilarityReward } from './similarity-reward';

/**
 * RLPT (Li et al. 2025, 2509.19249): the next sentence of a corpus, or a missing one, after a thought; paid by a judge of meaning, or by how alike the texts are.
 */
export const nextSegmentObjective = defineRPTObjective({
  name: 'next-segment',
  summary: 'a thought, then the next or a missing sentence of a corpus (RLPT)',
  fields: nextSegmentFields,
  takes: { algorithm: 'required', rewards: 'optional' },
  rows: ['language_modeling'],
  check(options, args) {
    const judged = args.segmentReward === 'judge';
    const given = options.judge !== undefined || args.segmentJudge !== undefined;
    if (judged && !given) throw new EspalierError('bad_config', '`segment_reward` is judge, and there is none', { fix: '`segment_judge`, a model by path or id; or `judge`, a text model' });
    if (!judged && given) throw new EspalierError('bad_config', 'a judge is given and `segment_reward` is similarity', { fix: '`segment_reward` judge' });
    if (options.judge !== undefined && args.segmentJudge !== undefined) throw new EspalierError('bad_config', 'both `judge` and `segment_judge` were given', { fix: 'one of them' });
    if (judged && options.embed) throw new EspalierError('bad_config', '`embed` is given and `segment_reward` is judge', { fix: '`segment_reward` similarity' });
    checkSampled(args, options.algorithm!);
  },
  async create(setup) {
    const { options } = setup;
    const train = await questions(setup, options.trainDataset, 'trainDataset');
    const evaluation = options.evalDataset === undefined ? undefined : await questions(setup, options.evalDataset, 'evalDataset');
    const { reward, close } = rewardOf(setup);
    return sampledRun(setup, {
      rewards: [reward],
      trainDataset: train.rows,
      ...(evaluation ? { evalDataset: evaluation.rows } : {}),
      config: { corpus: train.digest },
      close,
    });
  },
});

async function questions(setup: ObjectiveSetup, input: DatasetInput, name: string): Promise<{ rows: DatasetInput; digest: Json }> {
  const { args, signal } = setup;
  const { tokenizer } = await modelOnPaper(setup);
  const dataset = await openCorpus(input, name);
  const { positionsPerText, minContext, maxContext, segmentsAhead, middleLambda, questionTemplate: template, middleTemplate, questionFormat: format } = args;
  const made = segmentQuestions(corpusTexts(dataset, signal), tokenizer, {
    positionsPerText, minContext, maxContext, segmentsAhead, middleLambda, format, seed: args.dataSeed ?? args.seed,
    ...(template === undefined ? {} : { template }),
    ...(middleTemplate === undefined ? {} : { middleTemplate }),
  });
  const rows = await collectRows<SegmentQuestion>(made, dataset.name, `texts of several sentences, the first ones of at least \`min_context\` ${minContext} tokens`);
  return { rows: datasetOf(rows, dataset.name), digest: await datasetDigest(dataset) };
}

function rewardOf(setup: ObjectiveSetup): { reward: RewardFunction; close: () => Promise<void> } {
  const { options, args } = setup;
  const { endOfThinking } = args;
  if (args.segmentReward === 'similarity') return { reward: segmentSimilarityReward({ endOfThinking, ...(options.embed ? { embed: options.embed } : {}) }), close: async () => undefined };
  let opened: ReturnType<typeof openSideModel> | null = null; // by the first question
  const judge = async (): Promise<TextModel> => {
    const { engine } = await (opened ??= openSideModel(args.segmentJudge!, setup));
    return textModel(localRolloutEngine(engine), engine.tokenizer);
  };
  return { reward: segmentJudgeReward({ judge: options.judge ?? judge, endOfThinking }), close: async () => (await opened)?.close() };
}
