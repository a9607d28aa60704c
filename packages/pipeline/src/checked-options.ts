import type { Registry } from './registry';
import type { CheckedRewards, NameIn, PluginParts, RewardsWith } from './reward-types';

/** Algorithms that can be named: those that are built in, and those of the plugins of a registry. */
type Algorithms<R> = 'grpo' | 'rloo' | 'reinforce' | 'ppo' | 'online-dpo' | (R extends Registry<infer Plugins> ? NameIn<PluginParts<Plugins, 'algorithms'>> : never);
type CheckedAlgorithm<A, R> = A extends string ? (string extends A ? A : A extends Algorithms<R> ? A : Algorithms<R> & string) : A; // & string: so that a message lists the names

/** `Options` with what would do in the place of what does not. */
type Corrected<Options, R> = { [K in keyof Options]: K extends 'reward' | 'goldReward' ? CheckedRewards<Options[K], RewardsWith<R>> : K extends 'algorithm' ? CheckedAlgorithm<Options[K], R> : Options[K] };

type RegistryOf<Options> = Options extends { registry: infer R } ? R : null;

/**
 * The type of a stage's parameter: `Options` itself where it is right. Otherwise it is what would be right, so that the compiler's message is about the one thing
 * that is wrong: a field that does not exist (which a type parameter would let pass), a reward or an algorithm that nobody gives, an option of a reward.
 *
 * @typeParam Options what the caller wrote
 * @typeParam Allowed every option that there is
 * @typeParam R the registry whose plugins count; default: the one in the options
 */
export type CheckedOptions<Options, Allowed, R = RegistryOf<Options>> = [Exclude<keyof Options, keyof Allowed>] extends [never] ? (Options extends Corrected<Options, R> ? Options : Corrected<Options, R>) : Allowed;

/** The name that a stage's options give it; otherwise that of its factory. */
export type StageName<Options, Otherwise extends string> = Options extends { name: infer Name extends string } ? Name : Otherwise;
