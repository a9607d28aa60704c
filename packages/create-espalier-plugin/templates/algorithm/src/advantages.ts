import type { Reward } from '@espalier/spec';

/** The weighted sum of what the reward functions gave; null where none applied. */
export function totalReward(rewards: Readonly<Record<string, Reward | null>>, weights: Readonly<Record<string, number>>): number | null {
  let total: number | null = null;
  for (const [name, reward] of Object.entries(rewards)) {
    if (reward === null) continue;
    total = (total ?? 0) + (weights[name] ?? 1) * (typeof reward === 'number' ? reward : reward.total);
  }
  return total;
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
