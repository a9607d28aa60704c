import { defineReward, type RewardFunction } from '@espalier/spec';
import type { WeightedReward } from '@espalier/trainer';

/** The splits of the paper's evaluation (2506.08007, §4.2): positions whose entropy exceeds the bound. Each holds those after it. */
export const entropySplits = { easy: 0.5, medium: 1, hard: 1.5 } as const;

/**
 * Accuracy of predictions by how hard their positions are, as rewards of weight 0: each applies to the rows of its split alone (rows with `entropy`), and counts
 * what earned at least 1.
 * @param reward what says whether a prediction is right
 * @example
 * evaluateReward({ rewards: [predictionReward(), ...entropySplitRewards(predictionReward())], … }); // rewards/accuracy_hard/mean
 */
export function entropySplitRewards(reward: RewardFunction): WeightedReward[] {
  return Object.entries(entropySplits).map(([split, bound]) => ({
    weight: 0,
    reward: defineReward({
      name: `accuracy_${split}`,
      async score(samples, context) {
        const inside = samples.filter(({ row }) => typeof row.entropy === 'number' && row.entropy > bound);
        const scores = inside.length === 0 ? [] : await reward.score(inside, { ...context, log: undefined });
        const found = new Map(inside.map((sample, i) => [sample, scores[i]]));
        return samples.map((sample) => {
          const score = found.get(sample) ?? null;
          return score === null ? null : Number((typeof score === 'number' ? score : score.total) >= 1);
        });
      },
    }),
  }));
}
