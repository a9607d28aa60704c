import { EspalierError, type ScoredTrajectory } from '@espalier/spec';

/** What a custom advantage function may look at besides the groups. */
export interface AdvantageContext {
  step: number;
  /** Weighted sum of the rewards of each trajectory, in the order of the groups; null where no function applied. */
  rewards: readonly (readonly (number | null)[])[];
  /** Weight of each reward function; a name that is missing weighs 1. */
  rewardWeights: Readonly<Record<string, number>>;
  maxCompletionLength: number;
  signal?: AbortSignal;
}

/** The advantage of a trajectory: a number, a number for each token that the policy sampled, or null: it is not trained on. */
export type TrajectoryAdvantage = number | ArrayLike<number> | null;

/**
 * Advantages of one's own, in place of the group's standard score.
 * @example
 * const maxrl: AdvantageFunction = (groups, { rewards }) => rewards.map((group) => {
 *   const mean = group.reduce((sum, r) => sum + (r ?? 0), 0) / group.length;
 *   return group.map((r) => (r === null ? null : mean === 0 ? 0 : (r - mean) / mean));
 * });
 */
export type AdvantageFunction = (groups: readonly (readonly ScoredTrajectory[])[], context: AdvantageContext) => readonly (readonly TrajectoryAdvantage[])[] | Promise<readonly (readonly TrajectoryAdvantage[])[]>;

/**
 * What an advantage function gave, by trajectory.
 * @throws EspalierError `bad_data` when groups, completions or tokens are missing, or a number is not finite
 */
export function readAdvantages(groups: readonly (readonly ScoredTrajectory[])[], given: readonly (readonly TrajectoryAdvantage[])[]): Map<ScoredTrajectory, TrajectoryAdvantage> {
  const fail = (message: string, fix: string) => new EspalierError('bad_data', `the advantage function ${message}`, { fix });
  if (!Array.isArray(given) || given.length !== groups.length) throw fail(`gave ${Array.isArray(given) ? given.length : typeof given} groups for ${groups.length}`, 'a list a group');
  const byTrajectory = new Map<ScoredTrajectory, TrajectoryAdvantage>();
  groups.forEach((group, g) => {
    const row = given[g] as readonly TrajectoryAdvantage[];
    if (row?.length !== group.length) throw fail(`gave ${row?.length ?? 0} advantages for the ${group.length} completions of group ${g}`, 'one a completion, null for one that is not to be trained on');
    group.forEach((trajectory, k) => {
      const advantage = row[k];
      const sampled = trajectory.trainable.reduce((a, b) => a + b, 0);
      const numbers = advantage === null ? [] : typeof advantage === 'number' ? [advantage] : Array.from(advantage);
      if (typeof advantage === 'object' && advantage !== null && numbers.length !== sampled) throw fail(`gave ${numbers.length} numbers for the ${sampled} tokens of completion ${k} of group ${g}`, 'one a token that the policy sampled, or one for the completion');
      const bad = numbers.findIndex((v) => !Number.isFinite(v));
      if (bad >= 0) throw fail(`gave ${String(numbers[bad])} for completion ${k} of group ${g}`, 'a finite number, or null');
      byTrajectory.set(trajectory, advantage);
    });
  });
  return byTrajectory;
}
