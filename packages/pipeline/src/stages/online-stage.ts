import { rewardModel } from '@espalier/reward-models';
import { defineReward, defineStage, EspalierError, type MetricsHandle, type PolicyHandle, type RewardHandle, type Stage } from '@espalier/spec';
import { evaluationMetrics, type DatasetInput, type OnlineTrainer, type OnlineTrainerOptions, type TrainerCallback } from '@espalier/trainer';
import { withFingerprint } from '../fingerprint';
import { checkEnvironment, environmentFingerprint, resolveEnvironment, type EnvironmentInput } from '../environments';
import type { Registry } from '../registry';
import { trainingPlan, withPlan } from '../stage-plan';
import type { StageName } from '../checked-options';
import type { RewardOption } from '../reward-types';
import { checkRewards, resolveRewards, rewardFingerprint, type RewardInput } from '../rewards';
import { rowsFingerprint } from '../rows';
import { modelArgsOf, requireOption, splitOptions, trainingOptionNames, type StageOwned, type TrainingStageOptions } from './options';
import { reporter, trainInStage } from './train-stage';

/** What a stage that trains on rewards takes besides the fields of its trainer. */
export type OnlineStageOptions<Config> = TrainingStageOptions &
  Omit<Config, StageOwned> & {
    /** Reward functions: names (`numeric`, `numeric=0.8`), functions, or both. Default: the reward model that a stage before it gives. */
    reward?: RewardOption | readonly RewardOption[];
    /** What episodes run in, by name (`guess:max=20`), as the path of a module, or a factory. Its own reward counts beside `reward`, which may then be left out. */
    environment?: EnvironmentInput;
    /** What the rewards stand for: scored on the same completions, never trained on. Alarms (`onAlarm`) tell when they part. */
    goldReward?: RewardOption;
    /** Completions a held-out row when the stage ends. Default 1: greedy. */
    evalSamples?: number;
    /** Text that ends a completion. */
    stop?: readonly string[];
    /** Where names of rewards are looked up besides the built-in ones. */
    registry?: Registry;
  };

/** A stage that trains on rewards: on `reward`, on what its environment gives, or where both are left out on the reward model that a stage before it gives. */
export type OnlineStage<Options, Name extends string> = Stage<Extract<keyof Options, 'reward' | 'environment'> extends never ? { policy: PolicyHandle; reward: RewardHandle } : { policy: PolicyHandle }, { policy: PolicyHandle; metrics: MetricsHandle }, StageName<Options, Name>>;

/** What sets one trainer on rewards apart from another. */
export interface OnlineRecipe<Name extends string = string> {
  name: Name;
  /** The fields of its configuration. */
  shape: Readonly<Record<string, unknown>>;
  /** Names of rows that its trainer takes besides. */
  rows?: readonly string[];
  /** @throws EspalierError `bad_config` */
  check(config: object): void;
  create(options: OnlineTrainerOptions & { args: object }, own: Readonly<Record<string, unknown>>): OnlineTrainer;
}

/** Stands for the rewards in a plan, which scores nothing. */
const noReward = defineReward({ name: 'none', score: async (samples) => samples.map(() => null) });

const ownNames = [...trainingOptionNames, 'reward', 'goldReward', 'environment', 'evalSamples', 'stop', 'registry'];

/**
 * A trainer on rewards as a stage.
 * @throws EspalierError `bad_config` for an unknown or wrong field, at once
 */
export function onlineStage<Options extends OnlineStageOptions<object>, Name extends string>(options: Options, recipe: OnlineRecipe<Name>): OnlineStage<Options, Name> {
  const name = options.name ?? recipe.name;
  const { own, config } = splitOptions(name, options, [...ownNames, ...(recipe.rows ?? [])], recipe.shape);
  requireOption(name, own, 'dataset', 'a .jsonl file of rows with `prompt`, a task, or rows');
  recipe.check(config);
  const modelArgs = modelArgsOf(name, own);
  const { dataset, evalDataset, evalSamples, stop, registry, inline, callbacks = [] } = options;
  const rewards: readonly RewardInput[] = options.reward === undefined ? [] : Array.isArray(options.reward) ? (options.reward as readonly RewardInput[]) : [options.reward as RewardInput];
  if (rewards.length === 0 && options.reward !== undefined) throw new EspalierError('bad_config', `stage "${name}": \`reward\` is empty`, { fix: 'a reward function, such as numeric' });
  const gold: readonly RewardInput[] = options.goldReward === undefined ? [] : [options.goldReward as RewardInput];
  checkRewards([...rewards, ...gold], registry);
  const { environment } = options;
  if (environment !== undefined) checkEnvironment(environment, registry);
  const make = async (model: string, rewardFuncs: OnlineTrainerOptions['rewardFuncs'], args: object, watching: readonly TrainerCallback[] = []) =>
    recipe.create(
      {
        model,
        rewardFuncs,
        ...(environment === undefined ? {} : { environment: await resolveEnvironment(environment, registry) }),
        ...(gold.length === 0 ? {} : { goldReward: (await resolveRewards(gold, registry))[0].reward }),
        trainDataset: dataset,
        ...(evalDataset === undefined ? {} : { evalDataset }),
        ...(evalSamples === undefined ? {} : { evalSamples }),
        ...(stop === undefined ? {} : { stop }),
        ...(inline === undefined ? {} : { inline }),
        modelArgs,
        callbacks: watching,
        args,
      },
      own,
    );
  const stage = defineStage<{ policy: PolicyHandle; reward?: RewardHandle }, { policy: PolicyHandle; metrics: MetricsHandle }>({
    name,
    needs: rewards.length > 0 || environment !== undefined ? ['policy'] : ['policy', 'reward'],
    gives: ['policy', 'metrics'],
    async run({ policy, reward }, context) {
      const model = reward && rewardModel({ model: reward.path, ...(inline === undefined ? {} : { inline }) });
      const trainer = await make(policy.path, model ?? (await resolveRewards(rewards, registry)), { seed: context.seed, ...config, outputDir: context.dir }, [reporter(name, context), ...callbacks]);
      const call = context.signal ? { signal: context.signal } : {};
      try {
        return await trainInStage(trainer, context, evalDataset === undefined ? null : async () => evaluationMetrics(await trainer.evaluate(call)));
      } finally {
        await model?.close();
      }
    },
  });
  withPlan(stage, async (context) => (context.model ? trainingPlan(await make(context.model.reference, noReward, { seed: context.seed, ...config }), context) : { note: 'trains the model that a stage before it gives' }));
  const more = async () => Object.fromEntries(await Promise.all((recipe.rows ?? []).map(async (key) => [key, await rowsFingerprint(own[key] as DatasetInput | undefined)] as const)));
  return withFingerprint(stage, async () => ({ config, modelArgs, ...(await more()), evalSamples, stop, ...(environment === undefined ? {} : { environment: environmentFingerprint(environment) }), rewards: rewards.map(rewardFingerprint), ...(gold.length === 0 ? {} : { gold: gold.map(rewardFingerprint) }), rows: await rowsFingerprint(dataset), evalRows: await rowsFingerprint(evalDataset) })) as unknown as OnlineStage<Options, Name>;
}
