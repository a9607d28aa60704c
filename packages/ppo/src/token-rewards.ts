import { EspalierError, type ScoredTrajectory } from '@espalier/spec';

/** What the reward functions gave one completion: a score at its end, and rewards of single tokens. */
export interface CompletionReward {
  /** Falls on the end. */
  score: number;
  /** One a sampled token; null: none. */
  perToken: Float64Array | null;
}

/** Score and token rewards together. */
export function rewardSum({ score, perToken }: CompletionReward): number {
  return score + (perToken?.reduce((a, b) => a + b, 0) ?? 0);
}

/**
 * Σ weight × reward over the functions that apply; null when none does. A reward with `perToken` falls where those say, and its `total` is only their name; one
 * without falls on the end.
 *
 * @param positions places in `trajectory.tokens` of its sampled tokens
 * @throws EspalierError `bad_data` when `perToken` has neither one number a sampled token nor one a token after the prompt
 */
export function completionReward(trajectory: ScoredTrajectory, positions: readonly number[], weights: Readonly<Record<string, number>>): CompletionReward | null {
  let applied = false;
  let score = 0;
  let perToken: Float64Array | null = null;
  for (const [name, reward] of Object.entries(trajectory.rewards)) {
    if (reward === null) continue;
    applied = true;
    const weight = weights[name] ?? 1;
    if (typeof reward === 'number' || reward.perToken === undefined) {
      score += weight * (typeof reward === 'number' ? reward : reward.total);
      continue;
    }
    const dense = reward.perToken;
    const start = positions[0] ?? 0;
    const byPosition = dense.length === trajectory.tokens.length - start; // tool output between sampled tokens included
    if (!byPosition && dense.length !== positions.length) {
      throw new EspalierError('bad_data', `reward function "${name}" gave ${dense.length} rewards per token for a completion of ${positions.length} tokens`, { fix: 'one a token of the completion' });
    }
    perToken ??= new Float64Array(positions.length);
    for (const [i, position] of positions.entries()) {
      const value = dense[byPosition ? position - start : i];
      if (!Number.isFinite(value)) throw new EspalierError('bad_data', `reward function "${name}": perToken[${byPosition ? position - start : i}] is ${value}`, { fix: 'a finite number, 0 where there is nothing to say' });
      perToken[i] += weight * value;
    }
  }
  return applied ? { score, perToken } : null;
}

/**
 * Rewards of steps as rewards of tokens: each falls on the token with which its step ends. For process rewards.
 *
 * @param length tokens of the completion
 * @throws EspalierError `bad_data` when a step ends outside of the completion
 *
 * @example
 * stepRewards(5, [{ end: 2, reward: 0.5 }, { end: 5, reward: 1 }]); // [0, 0.5, 0, 0, 1]: `end` is the place after the last token, as in `Turn`
 */
export function stepRewards(length: number, steps: readonly { end: number; reward: number }[]): Float32Array {
  const perToken = new Float32Array(length);
  steps.forEach(({ end, reward }, i) => {
    if (!Number.isInteger(end) || end < 1 || end > length) throw new EspalierError('bad_data', `step ${i} ends at ${end}, the completion has ${length} tokens`, { fix: `a place from 1 to ${length}` });
    if (!Number.isFinite(reward)) throw new EspalierError('bad_data', `the reward of step ${i} is ${reward}`, { fix: 'a finite number' });
    perToken[end - 1] += reward;
  });
  return perToken;
}
