import { EspalierError, type Algorithm, type RewardFunction } from '@espalier/spec';
import { datasetDigest, evaluationMetrics, lmLoss, OnlineTrainer, openDataset, roundGeometry, weightedRewards, type DatasetInput, type Json, type StatefulAlgorithm, type WeightedReward } from '@espalier/trainer';
import type { RPTConfig } from './config';
import { ComputeMeter } from './control/compute-meter';
import { curriculumDataset, withCurriculum } from './curriculum';
import { meteredAlgorithm, meteredReward } from './control/metered-algorithm';
import type { ObjectiveRun, ObjectiveSetup } from './objective';
import { rpt } from './rpt';
import type { RPTTrainerOptions } from './trainer';

/** What an objective that samples brings of its own, in place of the trainer's options. */
export interface SampledParts {
  /** Default: `options.algorithm`. */
  algorithm?: Algorithm | StatefulAlgorithm;
  /** Default: `options.rewardFuncs`. They stand before any that the user gives besides. */
  rewards?: readonly (RewardFunction | WeightedReward)[];
  /** Rows with `prompt`. Default: `options.trainDataset`. */
  trainDataset?: DatasetInput;
  evalDataset?: DatasetInput;
  stop?: readonly string[];
  /** What else a resumed run must have again. */
  config?: Record<string, Json>;
  /** Called when the run is closed. */
  close?: () => Promise<void>;
}

const listOf = (rewards: RPTTrainerOptions['rewardFuncs']): readonly (RewardFunction | WeightedReward)[] =>
  rewards === undefined ? [] : Array.isArray(rewards) ? (rewards as readonly (RewardFunction | WeightedReward)[]) : [rewards as RewardFunction];

/** The user's reward functions with their weights, `rewardWeights` taken in. */
export function userRewards(options: RPTTrainerOptions, args: Pick<RPTConfig, 'rewardWeights'>): WeightedReward[] {
  const list = listOf(options.rewardFuncs);
  return list.length === 0 && args.rewardWeights === undefined ? [] : weightedRewards(list, args.rewardWeights);
}

/** @throws EspalierError `bad_config` when weight and rows of the language-model loss do not go together */
export function checkLmLoss(options: RPTTrainerOptions, { lmLossCoef }: Pick<RPTConfig, 'lmLossCoef'>): void {
  const given = options.lmDataset !== undefined;
  if (lmLossCoef > 0 && !given) throw new EspalierError('bad_config', `\`lm_loss_coef\` is ${lmLossCoef} and there is no \`lm_dataset\``, { fix: 'rows with `text`, or 0' });
  if (lmLossCoef === 0 && given) throw new EspalierError('bad_config', '`lm_dataset` is given and `lm_loss_coef` is 0', { fix: 'a positive weight, 0.1 for one' });
}

/** The KL term as the configuration says it. */
const klOf = ({ klCoef, klPlacement, klEstimator, klTarget, klHorizon }: RPTConfig) =>
  ({ coefficient: klCoef, placement: klPlacement, estimator: klEstimator, ...(klTarget === undefined ? {} : { adaptive: { target: klTarget, horizon: klHorizon } }) }) as const;

/** @throws EspalierError `bad_config` for batch sizes that do not divide, or a KL term that makes no sense */
export function checkSampled(args: RPTConfig, algorithm: Algorithm): void {
  rpt({ algorithm, kl: klOf(args) });
  roundGeometry(args, algorithm.numIterations);
}

/** A run that samples: rollouts, rewards, the algorithm, the KL term and the language-model loss. */
export function sampledRun({ options, args }: ObjectiveSetup, parts: SampledParts = {}): ObjectiveRun {
  const algorithm = parts.algorithm ?? options.algorithm!;
  const { lmDataset, algorithmConfig } = options;
  const dataset = lmDataset === undefined ? null : openDataset(lmDataset, 'lmDataset');
  dataset?.catch(() => undefined); // told by the first call that needs it
  const meter = args.control === 'none' ? null : new ComputeMeter();
  const beside = options.environment !== undefined || options.tools !== undefined; // weights are then those of its reward too: the trainer reads them
  const given = beside ? listOf(options.rewardFuncs) : [...weighted(parts.rewards ?? []), ...userRewards(options, args)];
  const rewards = meter ? given.map((entry, i) => (i === 0 && 'reward' in entry ? { ...entry, reward: meteredReward(entry.reward, meter) } : entry)) : given;
  const chosen = options.curriculum ? { rows: options.curriculum, ...curriculumDataset(options.curriculum) } : null;
  const penalised = rpt({ algorithm, kl: klOf(args) });
  const whole = chosen ? withCurriculum(penalised, chosen.rows) : penalised;
  const trainer = new OnlineTrainer(
    { ...options, rewardFuncs: rewards, trainDataset: chosen?.dataset ?? parts.trainDataset ?? options.trainDataset, evalDataset: parts.evalDataset ?? options.evalDataset, stop: parts.stop ?? options.stop },
    {
      name: 'rpt',
      args: beside ? args : { ...args, rewardWeights: undefined },
      algorithm: meter ? meteredAlgorithm(whole, meter) : whole,
      callbacks: () => (chosen ? [chosen.begin] : []),
      auxiliary: async ({ engine }) => {
        if (!dataset) return [];
        const { tokenizer, info } = engine;
        const encoder = { encode: tokenizer.encode.bind(tokenizer), applyChatTemplate: tokenizer.applyChatTemplate.bind(tokenizer), eosTokenId: tokenizer.eosTokenId ?? info.eosTokenIds[0] };
        const loss = lmLoss({ coefficient: args.lmLossCoef, dataset: await dataset, batchSize: args.lmBatchSize, maxLength: Math.min(args.lmMaxLength, info.maxPositions), seed: args.dataSeed ?? args.seed }, encoder);
        return [meter ? { ...loss, objective: meter.objective(loss.objective) } : loss];
      },
      config: async () => ({ ...(dataset ? { lmDataset: await datasetDigest(await dataset) } : {}), ...(algorithmConfig === undefined ? {} : { algorithmConfig }), ...parts.config }),
    },
  );
  return {
    train: (call) => trainer.train(call),
    evaluate: async (call) => evaluationMetrics(await trainer.evaluate(call)),
    evaluateReward: (call) => trainer.evaluate(call),
    plan: async (model) => ({ ...(await trainer.plan(model)), ...(options.algorithm && 'openLearners' in options.algorithm ? {} : { critics: 0 }) }), // what only listens trains nothing
    saveModel: (dir, how) => trainer.saveModel(dir, how),
    useEma: (on) => trainer.useEma(on),
    ...(meter ? { compute: () => meter.count } : {}),
    async close() {
      await trainer.close();
      await parts.close?.();
    },
  };
}

const weighted = (rewards: NonNullable<SampledParts['rewards']>): WeightedReward[] => (rewards.length === 0 ? [] : weightedRewards(rewards));
