import { grpo, grpoConfig, parseGRPOConfig, type GRPOConfigInput } from '@espalier/grpo';
import { parseRPTConfig, rptConfig, RPTTrainer, type RPTConfigInput, type RPTTrainerOptions } from '@espalier/rpt';
import { defineStage, EspalierError, type Algorithm, type MetricsHandle, type PolicyHandle, type Stage } from '@espalier/spec';
import { evaluationMetrics, type DatasetInput, type Json, type StatefulAlgorithm, type TrainerCallback, type WeightedReward } from '@espalier/trainer';
import { digestValue } from '../digest';
import { withFingerprint } from '../fingerprint';
import { createRegistry, type Registry } from '../registry';
import { trainingPlan, withPlan } from '../stage-plan';
import type { CheckedOptions, StageName } from '../checked-options';
import type { RewardOption } from '../reward-types';
import { checkRewards, resolveRewards, rewardFingerprint, type RewardInput } from '../rewards';
import { rowsFingerprint } from '../rows';
import { modelArgsOf, requireOption, splitOptions, trainingOptionNames, type StageOwned, type TrainingStageOptions } from './options';
import { reporter, trainInStage } from './train-stage';

/** Fields of an RPT run whose algorithm is GRPO, all in one: TRL's `GRPOConfig` and what RPT adds. */
export const rptFlatConfig = grpoConfig.extend(Object.fromEntries(Object.entries(rptConfig.shape).filter(([name]) => !(name in grpoConfig.shape))) as Omit<typeof rptConfig.shape, keyof typeof grpoConfig.shape>);
export type RptFlatConfigInput = Omit<GRPOConfigInput, keyof RPTConfigInput> & RPTConfigInput;

/** What the trainer of an RPT run takes besides its fields. */
export type RptTrainerParts = Omit<RPTTrainerOptions, 'algorithm' | 'args' | 'algorithmConfig' | 'rewardFuncs'> & {
  rewards: readonly WeightedReward[];
  /** `grpo`, the name of an algorithm that a plugin gives, or an algorithm. */
  algorithm?: string | Algorithm | StatefulAlgorithm;
  registry?: Registry;
};

const pick = (values: Readonly<Record<string, unknown>>, names: Readonly<Record<string, unknown>>): Record<string, unknown> => Object.fromEntries(Object.entries(values).filter(([name, value]) => name in names && value !== undefined));

/**
 * Checks the fields of an RPT run: those of its algorithm and its own.
 * @throws EspalierError `bad_config`
 */
export function checkRptConfig(config: RptFlatConfigInput): void {
  const fields = config as Record<string, unknown>;
  parseGRPOConfig(pick(fields, grpoConfig.shape) as GRPOConfigInput);
  const { klCoef } = parseRPTConfig(pick(fields, rptConfig.shape) as RPTConfigInput);
  const beta = (fields['beta'] as number | undefined) ?? 0;
  if (beta > 0 && klCoef > 0) throw new EspalierError('bad_config', `\`beta\` is ${beta} and \`kl_coef\` is ${klCoef}: the divergence would count twice`, { fix: 'give one of them' });
}

/** An `RPTTrainer` from flat fields: those of the algorithm go to the algorithm. */
export async function createRptTrainer(parts: RptTrainerParts, config: RptFlatConfigInput): Promise<RPTTrainer> {
  const fields = config as Record<string, unknown>;
  const { rewards, algorithm = 'grpo', registry, ...rest } = parts;
  const algorithmConfig = pick(fields, grpoConfig.shape);
  const made = typeof algorithm !== 'string' ? algorithm : algorithm === 'grpo' ? grpo(algorithmConfig as GRPOConfigInput) : await (registry ?? createRegistry()).lookup('algorithms', algorithm)(algorithmConfig);
  const own = Object.fromEntries(Object.entries(algorithmConfig).filter(([name]) => !(name in rptConfig.shape)));
  return new RPTTrainer({ ...rest, rewardFuncs: rewards, algorithm: made, args: pick(fields, rptConfig.shape) as RPTConfigInput, algorithmConfig: own as Json });
}

/** The fields of an RPT run and those of every training stage. */
export type RptStageOptions = TrainingStageOptions &
  Omit<RptFlatConfigInput, StageOwned> & {
    /** Reward functions: names (`numeric`, `numeric=0.8`), functions, or both. */
    reward: RewardOption | readonly RewardOption[];
    /** What the rewards stand for: scored on the same completions, never trained on. Alarms (`onAlarm`) tell when they part. */
    goldReward?: RewardOption;
    /** Default `grpo`. Another one is a value, or the name of a plugin's. */
    algorithm?: 'grpo' | (string & {}) | Algorithm | StatefulAlgorithm;
    /** Rows of the language-model loss that `lmLossCoef` weighs. */
    lmDataset?: DatasetInput;
    /** Completions a held-out row when the stage ends. Default 1: greedy. */
    evalSamples?: number;
    /** Text that ends a completion. */
    stop?: readonly string[];
    /** Where names of rewards and algorithms are looked up besides the built-in ones. */
    registry?: Registry;
  };

const ownNames = [...trainingOptionNames, 'reward', 'goldReward', 'algorithm', 'lmDataset', 'evalSamples', 'stop', 'registry'] as const;

/**
 * Reinforcement pre-training as a stage: the policy generates, verifiable rewards score, an algorithm (GRPO by default) updates.
 * @throws EspalierError `bad_config` for an unknown or wrong field, at once
 * @example
 * rpt({ dataset: 'sums.jsonl', reward: ['numeric'], perDeviceTrainBatchSize: 32, numGenerations: 8, maxCompletionLength: 24, learningRate: 5e-6, maxSteps: 60 })
 */
export function rpt<const Options extends RptStageOptions>(given: CheckedOptions<Options, RptStageOptions>): Stage<{ policy: PolicyHandle }, { policy: PolicyHandle; metrics: MetricsHandle }, StageName<Options, 'rpt'>> {
  const options = given as RptStageOptions;
  const name = options.name ?? 'rpt';
  const { own, config } = splitOptions(name, options, ownNames, rptFlatConfig.shape);
  requireOption(name, own, 'dataset', 'a .jsonl file of rows with `prompt`, a task, or rows');
  requireOption(name, own, 'reward', 'a reward function, such as numeric');
  checkRptConfig(config as RptFlatConfigInput);
  const modelArgs = modelArgsOf(name, own);
  const { dataset, evalDataset, lmDataset, algorithm, evalSamples, stop, registry, inline, callbacks = [] } = options;
  const rewards: readonly RewardInput[] = Array.isArray(options.reward) ? (options.reward as readonly RewardInput[]) : [options.reward as RewardInput];
  const gold: readonly RewardInput[] = options.goldReward === undefined ? [] : [options.goldReward as RewardInput];
  checkRewards([...rewards, ...gold], registry);
  const make = async (model: string, args: object, watching: readonly TrainerCallback[] = []) =>
    createRptTrainer(
      {
        model,
        rewards: await resolveRewards(rewards, registry),
        ...(gold.length === 0 ? {} : { goldReward: (await resolveRewards(gold, registry))[0].reward }),
        trainDataset: dataset,
        ...(evalDataset === undefined ? {} : { evalDataset }),
        ...(lmDataset === undefined ? {} : { lmDataset }),
        ...(algorithm === undefined ? {} : { algorithm }),
        ...(registry === undefined ? {} : { registry }),
        ...(evalSamples === undefined ? {} : { evalSamples }),
        ...(stop === undefined ? {} : { stop }),
        ...(inline === undefined ? {} : { inline }),
        modelArgs,
        callbacks: watching,
      },
      args as RptFlatConfigInput,
    );
  const stage = defineStage<{ policy: PolicyHandle }, { policy: PolicyHandle; metrics: MetricsHandle }, StageName<Options, 'rpt'>>({
    name: name as StageName<Options, 'rpt'>,
    needs: ['policy'],
    gives: ['policy', 'metrics'],
    async run({ policy }, context) {
      const trainer = await make(policy.path, { seed: context.seed, ...config, outputDir: context.dir }, [reporter(name, context), ...callbacks]);
      const call = context.signal ? { signal: context.signal } : {};
      return trainInStage(trainer, context, evalDataset === undefined ? null : async () => evaluationMetrics(await trainer.evaluate(call)));
    },
  });
  withPlan(stage, async (context) => (context.model ? trainingPlan(await make(context.model.reference, { seed: context.seed, ...config }), context) : { note: 'trains the model that a stage before it gives' }));
  return withFingerprint(stage, async () => ({
    config,
    modelArgs,
    evalSamples,
    stop,
    algorithm: typeof algorithm === 'object' ? { name: algorithm.name, text: digestValue(String(algorithm.experience)) } : algorithm,
    rewards: rewards.map(rewardFingerprint),
    ...(gold.length === 0 ? {} : { gold: gold.map(rewardFingerprint) }),
    rows: await rowsFingerprint(dataset),
    evalRows: await rowsFingerprint(evalDataset),
    lmRows: await rowsFingerprint(lmDataset),
  }));
}
