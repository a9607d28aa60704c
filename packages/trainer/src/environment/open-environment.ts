import { Conversation, EnvironmentPool, toolEnvironment, type ConversationTokenizer, type EnvironmentFactory, type EpisodeEnvironment, type Tool } from '@espalier/rollouts';
import { EspalierError, type RewardFunction } from '@espalier/spec';
import { weightedRewards, type WeightedReward } from '../rewards';
import type { Json } from '../trainer-state';
import type { EnvironmentArguments } from './environment-arguments';

/** What an on-policy trainer takes of environments. */
export interface EnvironmentOptions {
  /**
   * Makes the environment that episodes run in: called once for each that runs beside others. The rows of the dataset are then what its episodes begin with, and
   * what it gives is one more reward, under its name. Default: none, a prompt is answered once.
   */
  environment?: EnvironmentFactory;
  /** Functions that the policy may call, in an environment made of the row's prompt and them (TRL: `tools`). */
  tools?: readonly Tool[];
}

/** An environment that is open, as the loops take it. */
export interface OnlineEnvironment extends EpisodeEnvironment {
  name: string;
  /** Whether it offers tools: then calls of them are counted. */
  hasTools: boolean;
}

/** The factory that the options name, if any. @throws EspalierError `bad_config` for both an environment and tools, or limits without either */
export function environmentOf(options: EnvironmentOptions, args: EnvironmentArguments): EnvironmentFactory | null {
  const { environment, tools } = options;
  if (environment && tools) throw new EspalierError('bad_config', '`environment` and `tools` are both given', { fix: 'one of them; toolEnvironment({ tools }) is an environment' });
  const factory = environment ?? (tools ? () => toolEnvironment({ tools }) : null);
  const limit = (['maxTurns', 'maxTurnTokens', 'environmentTimeout', 'environmentConcurrency'] as const).find((name) => args[name] !== undefined);
  if (factory === null && limit !== undefined) throw new EspalierError('bad_config', `\`${limit.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`)}\` is given and there is no environment`, { fix: 'give one, or leave it out' });
  return factory;
}

/**
 * Opens what episodes run in.
 * @param room the model's positions, less the longest completion
 * @throws what the factory throws; EspalierError `incompatible_plugin`
 */
export async function openEnvironment(factory: EnvironmentFactory, args: EnvironmentArguments, tokenizer: ConversationTokenizer, room: number): Promise<OnlineEnvironment> {
  const { maxTurns, maxTurnTokens, environmentTimeout: timeout, environmentConcurrency: concurrency } = args;
  const pool = new EnvironmentPool(factory, { ...(timeout === undefined ? {} : { timeout }), ...(concurrency === undefined ? {} : { concurrency }) });
  try {
    const { name, tools } = await pool.facts();
    return { pool, name, hasTools: tools.length > 0, conversation: new Conversation(tokenizer, tools), maxTurns, maxTurnTokens, maxPromptTokens: room };
  } catch (error) {
    await pool.close();
    throw error;
  }
}

/** What a resumed run must have again. */
export async function environmentConfig({ name, pool }: OnlineEnvironment): Promise<Json> {
  const { tools } = await pool.facts();
  return { name, ...(tools.length > 0 ? { tools: tools.map((tool) => tool.name) } : {}) };
}

/**
 * The reward functions with their weights. With an environment there may be none; its own reward goes by its name, which no function may have.
 * @throws EspalierError as `weightedRewards` does; `bad_config` for a function of the environment's name
 */
export function rewardsBeside(environment: Pick<OnlineEnvironment, 'name'> | null | undefined, rewards: readonly (RewardFunction | WeightedReward)[], weights?: readonly number[]): WeightedReward[] {
  if (!environment) return weightedRewards(rewards, weights);
  const list = rewards.length === 0 && (weights?.length ?? 0) === 0 ? [] : weightedRewards(rewards, weights);
  if (list.some(({ reward }) => reward.name === environment.name)) throw new EspalierError('bad_config', `a reward function and the environment are both named "${environment.name}"`, { fix: 'name them apart' });
  return list;
}
