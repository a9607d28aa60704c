import { assertSpecVersion, EspalierError, isEspalierError, type Reward, type RewardContext, type RewardFunction, type RewardSample } from '@espalier/spec';

/** A reward function with its weight in the sum (TRL: `reward_weights`). */
export interface WeightedReward {
  reward: RewardFunction;
  weight: number;
}

/**
 * Reward functions with their weights; several of one name would hide one another and are refused.
 * @throws EspalierError `bad_config`, `incompatible_plugin`
 */
export function weightedRewards(rewards: readonly (RewardFunction | WeightedReward)[], weights?: readonly number[]): WeightedReward[] {
  if (rewards.length === 0) throw new EspalierError('bad_config', 'there is no reward function', { fix: 'give at least one' });
  if (weights && weights.length !== rewards.length) throw new EspalierError('bad_config', `\`reward_weights\` has ${weights.length} weights for ${rewards.length} reward functions`, { fix: `${rewards.length} would do` });
  const list = rewards.map((entry, i) => {
    const { reward, weight } = 'reward' in entry ? entry : { reward: entry, weight: 1 };
    return { reward, weight: weights?.[i] ?? weight };
  });
  const names = new Set<string>();
  for (const { reward, weight } of list) {
    assertSpecVersion(reward, 'reward function');
    if (names.has(reward.name)) throw new EspalierError('bad_config', `two reward functions are named "${reward.name}"`, { fix: 'name them apart' });
    if (!Number.isFinite(weight)) throw new EspalierError('bad_config', `the weight of reward function "${reward.name}" is ${weight}`);
    names.add(reward.name);
  }
  return list;
}

/** The number in a reward. */
export function rewardTotal(reward: Reward): number {
  return typeof reward === 'number' ? reward : reward.total;
}

/** Σ weight × reward over the functions that apply; null when none does. */
export function weightedTotal(rewards: Readonly<Record<string, Reward | null>>, weights: Readonly<Record<string, number>>): number | null {
  let total: number | null = null;
  for (const [name, reward] of Object.entries(rewards)) if (reward !== null) total = (total ?? 0) + (weights[name] ?? 1) * rewardTotal(reward);
  return total;
}

/**
 * Asks every function for every sample, all functions at once. Entry `i` of the result holds the rewards of sample `i` by function name; `null`
 * where a function does not apply.
 *
 * @throws EspalierError naming the function that threw, gave a wrong number of rewards, or gave one that is not a finite number or null
 */
export async function scoreSamples(rewards: readonly WeightedReward[], samples: readonly RewardSample[], context: RewardContext): Promise<Record<string, Reward | null>[]> {
  const columns = await Promise.all(rewards.map(({ reward }) => scoreOne(reward, samples, context)));
  return samples.map((_, i) => Object.fromEntries(rewards.map(({ reward }, f) => [reward.name, columns[f][i]])));
}

async function scoreOne(reward: RewardFunction, samples: readonly RewardSample[], context: RewardContext): Promise<readonly (Reward | null)[]> {
  let scores: readonly (Reward | null)[];
  try {
    scores = await reward.score(samples, context);
  } catch (error) {
    if (context.signal?.aborted) throw error;
    const message = error instanceof Error ? error.message : String(error);
    throw new EspalierError(isEspalierError(error) ? error.code : 'bad_config', `reward function "${reward.name}" failed at step ${context.step}: ${message}`, { cause: error });
  }
  if (!Array.isArray(scores) || scores.length !== samples.length) {
    throw new EspalierError('bad_config', `reward function "${reward.name}" gave ${Array.isArray(scores) ? `${scores.length} rewards` : typeof scores} for ${samples.length} completions`, { fix: 'one a completion, null where it does not apply' });
  }
  scores.forEach((score: Reward | null, i) => {
    if (score === null || Number.isFinite(typeof score === 'object' ? score?.total : score)) return;
    const found = typeof score === 'object' ? score.total : score;
    throw new EspalierError('bad_config', `reward function "${reward.name}" gave ${String(found)} for the completion ${JSON.stringify(samples[i].completion.slice(0, 80))}`, { fix: 'a finite number, or null where it does not apply' });
  });
  return scores;
}
