import { defineReward, EspalierError, type Reward, type RewardFunction } from '@espalier/spec';

export const ensembleMethods = ['mean', 'min', 'uwo'] as const;

export interface EnsembleOptions {
  /**
   * `mean`; `min`: the most pessimistic member (WCO, worst-case optimisation); `uwo`: mean − λ · variance of the members (uncertainty-weighted optimisation). Both are of
   * Coste et al. 2023 (2310.02743), §3. Default `min`.
   */
  method?: (typeof ensembleMethods)[number];
  /** λ of `uwo`. Default 0.5. */
  lambda?: number;
  /** Members that must apply to a sample; with fewer it gets null. Default: 1, and 2 for `uwo`. */
  minMembers?: number;
  name?: string;
}

/**
 * Several judges of one thing as one reward: what only some of them like earns little, so that the faults of a single one are not worth exploiting. (A fault that all
 * share stays.) Members' rewards stand under `components`, with their `variance`. Members should be of one scale: normalise them first.
 *
 * @throws EspalierError `bad_config`; when scoring, `bad_data` for a member that gives another number of rewards than there are samples
 *
 * @example
 * ensembleReward([judgeA, judgeB, judgeC], { method: 'uwo', lambda: 0.5 });
 */
export function ensembleReward(members: readonly RewardFunction[], options: EnsembleOptions = {}): RewardFunction {
  const { method = 'min', lambda = 0.5 } = options;
  const least = options.minMembers ?? (method === 'uwo' ? 2 : 1);
  if (members.length === 0) throw new EspalierError('bad_config', 'an ensemble of no members', { fix: 'two or more' });
  if (!ensembleMethods.includes(method)) throw new EspalierError('bad_config', `\`method\` is ${JSON.stringify(method)}`, { fix: `one of ${ensembleMethods.join(', ')}` });
  if (!(lambda >= 0 && Number.isFinite(lambda))) throw new EspalierError('bad_config', `\`lambda\` is ${lambda}`, { fix: 'zero or a positive number' });
  if (!(least >= 1 && least <= members.length)) throw new EspalierError('bad_config', `\`minMembers\` is ${least}, of ${members.length} members`, { fix: `from 1 to ${members.length}` });
  const names = new Set<string>();
  for (const { name } of members) {
    if (names.has(name)) throw new EspalierError('bad_config', `two reward functions are named "${name}"`, { fix: 'give one another `name`' });
    names.add(name);
  }
  const keeping = members.filter((member) => member.state);
  return defineReward({
    ...(keeping.length > 0 && {
      state: () => Object.fromEntries(keeping.map((member) => [member.name, member.state!()])),
      restore: (state: unknown) => keeping.forEach((member) => member.restore?.((state as Record<string, unknown>)[member.name])),
    }),
    name: options.name ?? `${method}(${[...names].join(',')})`,
    async score(samples, context) {
      const columns = await Promise.all(members.map((member) => member.score(samples, context)));
      columns.forEach((column, k) => {
        if (column.length !== samples.length) throw new EspalierError('bad_data', `reward function "${members[k].name}" gave ${column.length} rewards for ${samples.length} samples`, { fix: 'one a sample, null where it does not apply' });
      });
      return samples.map((_, i): Reward | null => {
        const components: Record<string, number> = {};
        columns.forEach((column, k) => {
          const reward = column[i];
          if (reward !== null) components[members[k].name] = typeof reward === 'number' ? reward : reward.total;
        });
        const values = Object.values(components);
        if (values.length < least) return null;
        const mean = values.reduce((a, b) => a + b, 0) / values.length;
        const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
        const total = method === 'mean' ? mean : method === 'min' ? Math.min(...values) : mean - lambda * variance;
        return { total, components: { ...components, variance } };
      });
    },
  });
}
