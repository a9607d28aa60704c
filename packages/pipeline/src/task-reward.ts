import type { Dataset } from '@espalier/data';
import { defineReward, EspalierError, type Reward, type RewardFunction, type RewardSample } from '@espalier/spec';
import type { Registry } from './registry';
import { resolveRewards } from './rewards';

/** The name of the reward function that checks a row's completions, as the row says it. Rows of a plugin's task family may leave it to a reward of the family's name. */
function nameOf(row: Readonly<Record<string, unknown>>, registry: Registry | undefined): string | null {
  const { reward, family } = row;
  if (typeof reward === 'string') return reward;
  return typeof family === 'string' && registry?.has('rewards', family) ? family : null;
}

/**
 * The reward that rows of procedural tasks name themselves, in their column `reward` (`numeric`, `exact` …): so that families with different rules can be measured side by
 * side. Where rows name several, each completion is scored by its own row's, and the whole is called `task`; rows that name none have no score.
 * @returns null when no row names one
 * @throws EspalierError `not_found` for a name that nothing has
 * @example
 * const reward = await rewardOfRows(await openRows('count_letters:size=200'));
 */
export async function rewardOfRows(rows: Dataset, registry?: Registry): Promise<RewardFunction | null> {
  if (!Number.isFinite(rows.size)) throw new EspalierError('bad_config', `${rows.name} has no end`, { fix: 'give it a size' });
  const names = new Set<string>();
  for (let i = 0; i < rows.size; i++) {
    const name = nameOf(rows.row(i), registry);
    if (name !== null) names.add(name);
  }
  const named = await resolveRewards([...names], registry);
  const byName = new Map([...names].map((name, i) => [name, named[i].reward]));
  if (byName.size === 0) return null;
  if (byName.size === 1) return [...byName.values()][0];
  return defineReward({
    name: 'task',
    async score(samples, context) {
      const scores: (Reward | null)[] = samples.map(() => null);
      for (const [name, reward] of byName) {
        const own = samples.map((sample, i) => [sample, i] as const).filter(([{ row }]) => nameOf(row as Record<string, unknown>, registry) === name);
        if (own.length === 0) continue;
        const given = await reward.score(own.map(([sample]) => sample as RewardSample), context);
        own.forEach(([, i], k) => (scores[i] = given[k]));
      }
      return scores;
    },
  });
}
