import type { Reward } from '@espalier/spec';

/** The number in a reward; null where the function does not apply. */
export function rewardNumber(reward: Reward | null): number | null {
  return typeof reward === 'number' || reward === null ? reward : reward.total;
}

/** The weighted sum of what the reward functions gave; null where none applied. */
export function totalReward(rewards: Readonly<Record<string, Reward | null>>, weights: Readonly<Record<string, number>>): number | null {
  let total: number | null = null;
  for (const [name, reward] of Object.entries(rewards)) {
    const number = rewardNumber(reward);
    if (number !== null) total = (total ?? 0) + (weights[name] ?? 1) * number;
  }
  return total;
}

/** The mean of what is a number; null where nothing is. */
export function meanOf(rewards: readonly (number | null)[]): number | null {
  const numbers = rewards.filter((reward) => reward !== null);
  return numbers.length === 0 ? null : numbers.reduce((sum, reward) => sum + reward, 0) / numbers.length;
}

/** Places among a group, spread evenly from −scale to scale: equal rewards share the mean of their places; null stays null. */
export function rankAdvantages(rewards: readonly (number | null)[], scale: number): (number | null)[] {
  const scored = rewards.filter((reward) => reward !== null);
  return rewards.map((reward) => {
    if (reward === null) return null;
    const below = scored.filter((other) => other < reward).length;
    const above = scored.filter((other) => other > reward).length;
    return scored.length < 2 ? 0 : (scale * (below - above)) / (scored.length - 1);
  });
}
