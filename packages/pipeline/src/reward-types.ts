import type { RewardModelOptions } from '@espalier/reward-models';
import type { AnswerOptions, CosineOptions, DepthOptions, DiversityOptions, ExactOptions, FactualityOptions, FormatOptions, LanguageOptions, LengthOptions, RefusalOptions, RemoteRewardOptions, RepetitionOptions, StepsOptions, ThoughtOptions, WordsOptions } from '@espalier/rewards';
import type { CompilesOptions, TestsOptions } from '@espalier/rewards-code';
import type { Plugin, RewardFunction } from '@espalier/spec';
import type { WeightedReward } from '@espalier/trainer';
import type { Registry } from './registry';

/** What says whether an answer is right: another reward by its name, and the column that it compares with. */
interface Judged {
  correct?: string;
  column?: string;
}

/** The reward functions that come with Espalier, and what each takes. */
export interface BuiltInRewards {
  numeric: AnswerOptions;
  accuracy: AnswerOptions;
  exact: ExactOptions;
  format: FormatOptions;
  length: LengthOptions;
  repetition: RepetitionOptions;
  cosine: CosineOptions;
  thought: ThoughtOptions;
  steps: Omit<StepsOptions, 'correct'> & Judged;
  depth: Omit<DepthOptions, 'correct'> & Judged;
  factuality: Pick<FactualityOptions, 'column' | 'threshold' | 'name'>;
  diversity: Omit<DiversityOptions, 'correct' | 'embed'> & Judged;
  language: LanguageOptions;
  words: WordsOptions;
  refusal: RefusalOptions;
  remote: Omit<RemoteRewardOptions, 'random' | 'columns' | 'baseDelayMs' | 'maxDelayMs'>;
  compiles: Omit<CompilesOptions, 'sandbox'>;
  tests: Omit<TestsOptions, 'sandbox'>;
  reward_model: { /** The folder of a reward model. */ path: string } & Pick<RewardModelOptions, 'normalization' | 'clip' | 'maxLength'>;
}

/** What a factory takes; any options where it says nothing of them. */
export type OptionsOf<F> = F extends (...parameters: infer Parameters) => unknown ? (Parameters extends readonly [] ? Record<string, never> : Parameters extends readonly [options?: infer Options, ...rest: never[]] ? NonNullable<Options> : Record<string, unknown>) : never;

type PartsOf<P, Kind extends keyof Plugin> = P extends { [K in Kind]: infer Parts } ? { [Name in keyof Parts]: OptionsOf<Parts[Name]> } : unknown;
type AllParts<Plugins, Kind extends keyof Plugin> = Plugins extends readonly [infer First, ...infer Rest] ? PartsOf<First, Kind> & AllParts<Rest, Kind> : unknown;

/**
 * Parts of one kind that plugins bring, by name, with their options. Of plugins that are not known when it is compiled: any name.
 * @example
 * type Mine = PluginParts<[typeof plugin], 'rewards'>; // { brevity: { maxLength: number } }
 */
export type PluginParts<Plugins extends readonly unknown[], Kind extends keyof Plugin> = number extends Plugins['length'] ? Record<string, Record<string, unknown>> : AllParts<Plugins, Kind>;

/** Rewards that can be named: those that come with Espalier, and those of the plugins of a registry. */
export type RewardsWith<R> = R extends Registry<infer Plugins> ? BuiltInRewards & PluginParts<Plugins, 'rewards'> : BuiltInRewards;

/** Spells the names out, so that a message of the compiler lists them. */
export type NameIn<Known> = Extract<{ [Name in keyof Known]: Name }[keyof Known], string>;

/** A reward as it is written in TypeScript: a name (with its weight, or options, behind it), `{ name, weight, options }`, or a function. */
export type RewardOption<Known = BuiltInRewards> = NameIn<Known> | (string & {}) | RewardFunction | WeightedReward | { name: NameIn<Known> | (string & {}); weight?: number; options?: object };

/** `numeric=0.8` → `numeric`, `length:max_length=8` → `length`. */
type Bare<Text extends string> = Text extends `${infer Name}:${string}` ? Name : Text extends `${infer Name}=${string}` ? Name : Text;
type Suffixed<Text extends string, Name extends string> = Text extends `${string}:${infer Options}` ? `${Name}:${Options}` : Text extends `${string}=${infer Weight}` ? `${Name}=${Weight}` : Name;

type CheckedReward<R, Known> = R extends string
  ? string extends R ? R : Bare<R> extends keyof Known ? R : Suffixed<R, NameIn<Known>>
  : R extends { score: unknown } | { reward: unknown } ? R
  : R extends { name: infer Name extends string } ? (string extends Name ? R : Name extends keyof Known ? { name: Name; weight?: number; options?: Known[Name] } : { name: NameIn<Known> })
  : R;

/** `R` itself where every reward in it is known and has options of the right type; else what would do, so that the compiler's message says it. */
export type CheckedRewards<R, Known> = R extends readonly unknown[] ? { [I in keyof R]: CheckedReward<R[I], Known> } : CheckedReward<R, Known>;
