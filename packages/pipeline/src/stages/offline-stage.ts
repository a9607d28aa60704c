import { defineStage, type Metrics, type MetricsHandle, type PolicyHandle, type RewardHandle, type RowsHandle, type Stage } from '@espalier/spec';
import type { DatasetInput, OfflineTrainerOptions, TrainerCallback } from '@espalier/trainer';
import { withFingerprint } from '../fingerprint';
import { rowsFingerprint } from '../rows';
import { trainingPlan, withPlan } from '../stage-plan';
import type { StageName } from '../checked-options';
import { modelArgsOf, splitOptions, trainingOptionNames, type StageOwned, type TrainingStageOptions } from './options';
import { reporter, trainInStage, type StageTrainer } from './train-stage';

/** What a stage that may take the rows of one before it is given: the fields of its trainer and those of every training stage. */
export type WithRows<Config> = Omit<TrainingStageOptions, 'dataset'> & { /** Default: the rows that a stage before it gives. */ dataset?: DatasetInput } & Omit<Config, StageOwned>;

type Needed<Options> = 'dataset' extends keyof Options ? { policy: PolicyHandle } : { policy: PolicyHandle; rows: RowsHandle };

/** A stage that trains on rows: on `dataset`, or where that is left out on the rows that a stage before it gives. */
export type OfflineStage<Options, Name extends string> = Stage<Needed<Options>, { policy: PolicyHandle; metrics: MetricsHandle }, StageName<Options, Name>>;
/** The same for one that gives a reward model; the policy goes on as it is. */
export type RewardStage<Options> = Stage<Needed<Options>, { reward: RewardHandle; metrics: MetricsHandle }, StageName<Options, 'reward-model'>>;

/** What sets one trainer on rows apart from another. */
export interface OfflineRecipe<Name extends string = string> {
  name: Name;
  /** The fields of its configuration. */
  shape: Readonly<Record<string, unknown>>;
  /** Names of what its trainer takes besides. Their values count for what the stage depends on. */
  own?: readonly string[];
  /** @throws EspalierError `bad_config` */
  check(config: object): void;
  /** Makes the trainer; `args` holds the configuration. */
  create(options: OfflineTrainerOptions & { args: object }, own: Readonly<Record<string, unknown>>): StageTrainer & { evaluate(call?: { signal?: AbortSignal }): Promise<Metrics> };
}

type RowsOptions = Omit<TrainingStageOptions, 'dataset'> & { dataset?: DatasetInput };

/**
 * A trainer on rows as a stage.
 * @throws EspalierError `bad_config` for an unknown or wrong field, at once
 */
export const offlineStage = <Options extends RowsOptions, Name extends string>(options: Options, recipe: OfflineRecipe<Name>): OfflineStage<Options, Name> => stageOf(options, recipe, 'policy') as OfflineStage<Options, Name>;

/** A trainer of reward models as a stage. @throws EspalierError `bad_config` for an unknown or wrong field, at once */
export const rewardStage = <Options extends RowsOptions>(options: Options, recipe: OfflineRecipe): RewardStage<Options> => stageOf(options, recipe, 'reward') as RewardStage<Options>;

function stageOf(options: RowsOptions, recipe: OfflineRecipe, gives: 'policy' | 'reward'): unknown {
  const name = options.name ?? recipe.name;
  const { own, config } = splitOptions(name, options, [...trainingOptionNames, ...(recipe.own ?? [])], recipe.shape);
  recipe.check(config);
  const modelArgs = modelArgsOf(name, own);
  const { dataset, evalDataset, inline, callbacks = [] } = options;
  const make = (model: string, trainDataset: DatasetInput, args: object, watching: readonly TrainerCallback[] = []) =>
    recipe.create({ model, trainDataset, ...(evalDataset === undefined ? {} : { evalDataset }), modelArgs, ...(inline === undefined ? {} : { inline }), callbacks: watching, args }, own);
  const stage = defineStage<{ policy: PolicyHandle; rows?: RowsHandle }, { policy?: PolicyHandle; reward?: RewardHandle; metrics: MetricsHandle }>({
    name,
    needs: dataset === undefined ? ['policy', 'rows'] : ['policy'],
    gives: [gives, 'metrics'],
    async run({ policy, rows }, context) {
      const trainer = make(policy.path, dataset ?? rows!.path, { seed: context.seed, ...config, outputDir: context.dir }, [reporter(name, context), ...callbacks]);
      const trained = await trainInStage(trainer, context, evalDataset === undefined ? null : () => trainer.evaluate(context.signal ? { signal: context.signal } : {}));
      return gives === 'policy' ? trained : { reward: { ...trained.policy, kind: 'reward' }, metrics: trained.metrics };
    },
  });
  withPlan(stage, async (context) => (dataset === undefined || !context.model ? { note: `trains on ${dataset === undefined ? 'the rows' : 'the model'} that a stage before it gives` } : trainingPlan(make(context.model.reference, dataset, { seed: context.seed, ...config }), context)));
  const more = Object.fromEntries((recipe.own ?? []).map((key) => [key, own[key]]));
  return withFingerprint(stage, async () => ({ config, modelArgs, ...more, rows: await rowsFingerprint(dataset), evalRows: await rowsFingerprint(evalDataset) }));
}
