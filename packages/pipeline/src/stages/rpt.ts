import { grpoConfig } from '@espalier/grpo';
import { objectiveNamed, parseRPTConfig, rptConfig, RPTTrainer, type RPTConfig, type RPTConfigInput, type RPTTrainerOptions } from '@espalier/rpt';
import { defineStage, EspalierError, type Algorithm, type MetricsHandle, type PolicyHandle, type Stage } from '@espalier/spec';
import type { DatasetInput, Json, StatefulAlgorithm, TrainerCallback, WeightedReward } from '@espalier/trainer';
import { digestValue } from '../digest';
import { withFingerprint } from '../fingerprint';
import { checkEnvironment, environmentFingerprint, resolveEnvironment, type EnvironmentInput } from '../environments';
import { createRegistry, type Registry } from '../registry';
import { trainingPlan, withPlan } from '../stage-plan';
import type { CheckedOptions, StageName } from '../checked-options';
import type { RewardOption } from '../reward-types';
import { checkRewards, resolveRewards, rewardFingerprint, type RewardInput } from '../rewards';
import { rowsFingerprint } from '../rows';
import { modelArgsOf, requireOption, splitOptions, trainingOptionNames, type StageOwned, type TrainingStageOptions } from './options';
import { namedAlgorithm, rptFlatConfig, type RptFlatConfigInput } from './rpt-algorithms';
import { reporter, trainInStage } from './train-stage';

/** What the trainer of an RPT run takes besides its fields. */
export type RptTrainerParts = Omit<RPTTrainerOptions, 'algorithm' | 'args' | 'algorithmConfig' | 'rewardFuncs' | 'objective'> & {
  rewards?: readonly WeightedReward[];
  /** A name of `rptAlgorithmNames`, that of an algorithm that a plugin gives, or an algorithm. Default: `grpo`, where the objective has none of its own. */
  algorithm?: string | Algorithm | StatefulAlgorithm;
  registry?: Registry;
};

const pick = (values: Readonly<Record<string, unknown>>, names: Readonly<Record<string, unknown>>): Record<string, unknown> => Object.fromEntries(Object.entries(values).filter(([name, value]) => name in names && value !== undefined));

/** The algorithm that is asked for; undefined where the objective has its own, or none. */
const wanted = <Given>(given: Given | undefined, config: RPTConfig): Given | 'grpo' | undefined => given ?? (objectiveNamed(config.objective).takes.algorithm === 'required' ? 'grpo' : undefined);

/**
 * Checks the fields of an RPT run: its own, and those of its algorithm where that is built in.
 * @throws EspalierError `bad_config`
 */
export function checkRptConfig(config: RptFlatConfigInput, given?: string | Algorithm | StatefulAlgorithm): void {
  const fields = config as Record<string, unknown>;
  const parsed = parseRPTConfig(pick(fields, rptConfig.shape) as RPTConfigInput);
  const algorithm = wanted(given, parsed);
  if (typeof algorithm === 'string') namedAlgorithm(algorithm, fields);
  const beta = (fields['beta'] as number | undefined) ?? 0;
  if (beta > 0 && parsed.klCoef > 0 && algorithm !== 'online-dpo' && algorithm !== 'dpo') throw new EspalierError('bad_config', `\`beta\` is ${beta} and \`kl_coef\` is ${parsed.klCoef}: the divergence would count twice`, { fix: 'give one of them' });
}

/** An `RPTTrainer` from flat fields: those of the algorithm go to the algorithm. */
export async function createRptTrainer(parts: RptTrainerParts, config: RptFlatConfigInput): Promise<RPTTrainer> {
  const fields = config as Record<string, unknown>;
  const { rewards = [], algorithm: given, registry = createRegistry(), ...rest } = parts;
  const args = pick(fields, rptConfig.shape) as RPTConfigInput;
  const algorithm = wanted(given, parseRPTConfig(args));
  let made: { algorithm?: Algorithm | StatefulAlgorithm; algorithmConfig?: Json } = {};
  if (typeof algorithm === 'object') made = { algorithm };
  else if (algorithm !== undefined) {
    const own = Object.fromEntries(Object.entries(fields).filter(([name, value]) => !(name in rptConfig.shape) && value !== undefined));
    const named = namedAlgorithm(algorithm, fields);
    made = { algorithm: named?.algorithm ?? (await registry.lookup('algorithms', algorithm)({ ...pick(fields, grpoConfig.shape), ...own })), algorithmConfig: (named?.config ?? own) as Json };
  }
  const { segmentJudge } = args;
  const judge = rest.judge ?? (typeof segmentJudge === 'string' && registry.has('textModels', segmentJudge) ? await registry.lookup('textModels', segmentJudge)() : undefined);
  return new RPTTrainer({ ...rest, ...made, ...(rewards.length > 0 ? { rewardFuncs: rewards } : {}), ...(judge ? { judge } : {}), args: judge ? { ...args, segmentJudge: undefined } : args });
}

/** The fields of an RPT run and those of every training stage. */
export type RptStageOptions = TrainingStageOptions &
  Omit<RptFlatConfigInput, StageOwned> & {
    /** Reward functions: names (`numeric`, `numeric=0.8`), functions, or both. Objective verifiable needs some, or an environment. */
    reward?: RewardOption | readonly RewardOption[];
    /** What the rewards stand for: scored on the same completions, never trained on. Alarms (`onAlarm`) tell when they part. */
    goldReward?: RewardOption;
    /** What episodes run in, by name (`guess:max=20`), as the path of a module, or a factory. Its own reward counts beside `reward`. */
    environment?: EnvironmentInput;
    /** Default `grpo`, where the objective has none of its own. Another one is a built-in one's name, that of a plugin's, or a value. */
    algorithm?: 'grpo' | 'rloo' | 'reinforce' | 'ppo' | 'online-dpo' | (string & {}) | Algorithm | StatefulAlgorithm;
    /** Rows of the language-model loss that `lmLossCoef` weighs. */
    lmDataset?: DatasetInput;
    /** Completions a held-out row when the stage ends. Default 1: greedy. */
    evalSamples?: number;
    /** Text that ends a completion. */
    stop?: readonly string[];
    /** Where names of rewards and algorithms are looked up besides the built-in ones. */
    registry?: Registry;
  };

const ownNames = [...trainingOptionNames, 'reward', 'goldReward', 'environment', 'algorithm', 'lmDataset', 'evalSamples', 'stop', 'registry'] as const;

/**
 * Reinforcement pre-training as a stage, whatever the objective: the policy generates, rewards score, an algorithm (GRPO by default) updates.
 * @throws EspalierError `bad_config` for an unknown or wrong field, at once
 * @example
 * rpt({ dataset: 'sums.jsonl', reward: ['numeric'], perDeviceTrainBatchSize: 32, numGenerations: 8, maxCompletionLength: 24, learningRate: 5e-6, maxSteps: 60 })
 */
export function rpt<const Options extends RptStageOptions>(given: CheckedOptions<Options, RptStageOptions>): Stage<{ policy: PolicyHandle }, { policy: PolicyHandle; metrics: MetricsHandle }, StageName<Options, 'rpt'>> {
  const options = given as RptStageOptions;
  const name = options.name ?? 'rpt';
  const { own, config } = splitOptions(name, options, ownNames, rptFlatConfig.shape);
  requireOption(name, own, 'dataset', 'a .jsonl file of rows with `prompt`, a task, or rows');
  const objective = objectiveNamed((config['objective'] as string | undefined) ?? 'verifiable');
  if (objective.takes.rewards === 'required' && options.environment === undefined) requireOption(name, own, 'reward', 'a reward function, such as numeric');
  checkRptConfig(config as RptFlatConfigInput, options.algorithm);
  const modelArgs = modelArgsOf(name, own);
  const { dataset, evalDataset, lmDataset, algorithm, evalSamples, stop, registry, inline, callbacks = [] } = options;
  const rewards: readonly RewardInput[] = options.reward === undefined ? [] : Array.isArray(options.reward) ? (options.reward as readonly RewardInput[]) : [options.reward as RewardInput];
  const gold: readonly RewardInput[] = options.goldReward === undefined ? [] : [options.goldReward as RewardInput];
  checkRewards([...rewards, ...gold], registry);
  const { environment } = options;
  if (environment !== undefined) checkEnvironment(environment, registry);
  const make = async (model: string, args: object, watching: readonly TrainerCallback[] = []) =>
    createRptTrainer(
      {
        model,
        rewards: await resolveRewards(rewards, registry),
        ...(environment === undefined ? {} : { environment: await resolveEnvironment(environment, registry) }),
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
      return trainInStage(trainer, context, evalDataset === undefined ? null : () => trainer.evaluateMetrics(call));
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
    ...(environment === undefined ? {} : { environment: environmentFingerprint(environment) }),
    rows: await rowsFingerprint(dataset),
    evalRows: await rowsFingerprint(evalDataset),
    lmRows: await rowsFingerprint(lmDataset),
  }));
}
