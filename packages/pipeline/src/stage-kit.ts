import { assertSpecVersion, type AnyStage, type Factory, type MetricsHandle, type Plugin, type PolicyHandle, type Stage } from '@espalier/spec';
import { branch } from './branch';
import type { CheckedOptions, StageName } from './checked-options';
import { pipeline } from './pipeline';
import type { Registry } from './registry';
import type { OptionsOf, RewardOption, RewardsWith } from './reward-types';
import {
  aiPreferences, cpo, critiqueRevise, distill, dpo, evaluate, grpo, kto, onlineDpo, orpo, ppo, pretrain, reinforce, rewardModel, rloo, rpt, sft, startFrom,
  type EvaluateStageOptions, type GrpoStageOptions, type OnlineDpoStageOptions, type OnlineStage, type PpoStageOptions, type ReinforceStageOptions, type RlooStageOptions, type RptStageOptions,
} from './stages';

type RewardsOf<Plugins extends readonly Plugin[]> = RewardsWith<Registry<Plugins>>;
/** A stage's options with the rewards of plugins among the names that are proposed. */
type With<Allowed, Plugins extends readonly Plugin[]> = Omit<Allowed, 'reward' | 'registry'> & ('reward' extends RequiredNames<Allowed> ? { reward: Rewards<Plugins> } : { reward?: Rewards<Plugins> });
type RequiredNames<T> = { [K in keyof T]-?: undefined extends T[K] ? never : K }[keyof T];
type Rewards<Plugins extends readonly Plugin[]> = RewardOption<RewardsOf<Plugins>> | readonly RewardOption<RewardsOf<Plugins>>[];

/** A stage on rewards whose names are those of the plugins too. */
type OnRewards<Allowed, Name extends string, Plugins extends readonly Plugin[]> = <const Options extends With<Allowed, Plugins>>(options: CheckedOptions<Options, With<Allowed, Plugins>, Registry<Plugins>>) => OnlineStage<Options, Name>;

type StagesOf<P> = P extends { stages: infer Stages } ? { [Name in keyof Stages]: StageFactory<Stages[Name]> } : unknown;
type StageFactory<F> = F extends (...parameters: never[]) => infer Made ? (...options: Record<string, never> extends OptionsOf<F> ? [options?: OptionsOf<F>] : [options: OptionsOf<F>]) => Made : never;
type AllStages<Plugins> = Plugins extends readonly [infer First, ...infer Rest] ? StagesOf<First> & AllStages<Rest> : unknown;

/** Every stage, bound to a registry: what the function of `defineConfig` is given. */
export interface StageKit<Plugins extends readonly Plugin[] = readonly Plugin[]> {
  registry: Registry<Plugins>;
  pipeline: typeof pipeline;
  branch: typeof branch;
  startFrom: typeof startFrom;
  pretrain: typeof pretrain;
  sft: typeof sft;
  dpo: typeof dpo;
  kto: typeof kto;
  cpo: typeof cpo;
  orpo: typeof orpo;
  distill: typeof distill;
  rewardModel: typeof rewardModel;
  critiqueRevise: typeof critiqueRevise;
  aiPreferences: typeof aiPreferences;
  grpo: OnRewards<GrpoStageOptions, 'grpo', Plugins>;
  rloo: OnRewards<RlooStageOptions, 'rloo', Plugins>;
  reinforce: OnRewards<ReinforceStageOptions, 'reinforce', Plugins>;
  onlineDpo: OnRewards<OnlineDpoStageOptions, 'online-dpo', Plugins>;
  ppo: OnRewards<PpoStageOptions, 'ppo', Plugins>;
  rpt: OnRewards<RptStageOptions, 'rpt', Plugins>;
  evaluate: <const Options extends With<EvaluateStageOptions, Plugins>>(options: CheckedOptions<Options, With<EvaluateStageOptions, Plugins>, Registry<Plugins>>) => Stage<{ policy: PolicyHandle }, { metrics: MetricsHandle }, StageName<Options, 'evaluate'>>;
  /** Stages that plugins bring, by their names. */
  stages: number extends Plugins['length'] ? Readonly<Record<string, (options?: Readonly<Record<string, unknown>>) => Promise<Stage>>> : AllStages<Plugins>;
}

/** The stages with a registry: names of rewards and algorithms are looked up in it. */
export function stageKit<const Plugins extends readonly Plugin[]>(registry: Registry<Plugins>): StageKit<Plugins> {
  const bound = <Make extends (options: never) => unknown>(make: Make) => (options: object) => make({ ...options, registry } as never);
  const kit = {
    registry, pipeline, branch, startFrom, pretrain, sft, dpo, kto, cpo, orpo, distill, rewardModel, critiqueRevise, aiPreferences,
    grpo: bound(grpo), rloo: bound(rloo), reinforce: bound(reinforce), onlineDpo: bound(onlineDpo), ppo: bound(ppo), rpt: bound(rpt), evaluate: bound(evaluate),
    stages: Object.fromEntries(registry.plugins.flatMap((plugin) => Object.entries(plugin.stages ?? {}).map(([name, make]) => [name, checked(`${plugin.name}/${name}`, make)]))),
  };
  return kit as unknown as StageKit<Plugins>;
}

/** A plugin's factory, whose stage is looked at before it is used. A pipeline looks at it again; what comes as a promise is looked at there alone. */
const checked = (name: string, make: Factory<AnyStage>) => (options: unknown) => {
  const stage = make(options as never);
  if (!(stage instanceof Promise)) assertSpecVersion({ specVersion: (stage as { specVersion?: unknown } | undefined)?.specVersion, name }, 'stage');
  return stage;
};
