import type { Algorithm, Metrics, ScoredTrajectory } from '@espalier/spec';
import { weightedTotal, type OwningAlgorithm } from '@espalier/trainer';
import { packTrajectories } from './trajectory-batch';

/**
 * An algorithm on pairs (online DPO) as one on groups of any size: of each group it sees the completion with the highest reward and the one with the lowest. A
 * group whose rewards are all the same has no pair, and is left out and counted; where no group has one, nothing is trained on.
 *
 * @param algorithm takes groups of two: `onlineDpo()` of `@espalier/dpo`
 * @example
 * new RPTTrainer({ algorithm: rankedPairs(onlineDpo({ beta: 0.1 })), rewardFuncs: numericReward(), … });
 */
export function rankedPairs(algorithm: Algorithm): OwningAlgorithm {
  return {
    ...(algorithm as OwningAlgorithm),
    async experience(groups, context) {
      const pairs = groups.map((group) => pairOf(group, context.rewardWeights));
      const found = pairs.filter((pair) => pair !== null);
      const metrics: Metrics = { 'ranked_pairs/groups_without_pair': pairs.length - found.length };
      if (found.length === 0) return { batch: packTrajectories([]).batch, metrics };
      const experience = await algorithm.experience(found, context);
      const totals = groups.flat().flatMap(({ rewards }) => weightedTotal(rewards, context.rewardWeights) ?? []);
      const trained = new Set(found.flat());
      return {
        ...experience,
        metrics: { ...experience.metrics, ...metrics, reward: totals.reduce((a, b) => a + b, 0) / totals.length },
        advantages: groups.map((group, g) => group.map((trajectory) => (trained.has(trajectory) ? (trajectory === pairs[g]![0] ? 1 : -1) : null))),
      };
    },
  };
}

/** The best and the worst of a group, the earlier one among equals; null when there is no difference. */
function pairOf(group: readonly ScoredTrajectory[], weights: Readonly<Record<string, number>>): [best: ScoredTrajectory, worst: ScoredTrajectory] | null {
  const scored = group.flatMap((trajectory) => {
    const total = weightedTotal(trajectory.rewards, weights);
    return total === null ? [] : [{ trajectory, total }];
  });
  if (scored.length === 0) return null;
  const best = scored.reduce((a, b) => (b.total > a.total ? b : a));
  const worst = scored.reduce((a, b) => (b.total < a.total ? b : a));
  return best.total > worst.total ? [best.trajectory, worst.trajectory] : null;
}
