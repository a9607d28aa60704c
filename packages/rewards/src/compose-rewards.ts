import { defineReward, EspalierError, type Reward, type RewardFunction } from '@espalier/spec';

/** A reward function with its weight in a sum. */
export interface RewardTerm {
  reward: RewardFunction;
  /** Default 1. */
  weight?: number;
}

const totalOf = (reward: Reward) => (typeof reward === 'number' ? reward : reward.total);

/**
 * Several reward functions as one: Σ weight × reward, with each function's own (unweighted) reward under `components`. What does not apply to a
 * sample is left out of its sum; a sample to which nothing applies gets null. Per-token parts are weighted and added where they are as long as one
 * another.
 *
 * @throws EspalierError `bad_config` for no functions, two of one name, or a weight that is not finite; when scoring, `bad_data` for a function
 * that gives another number of rewards than there are samples
 *
 * @example
 * composeRewards([{ reward: numericReward() }, { reward: lengthReward({ maxLength: 256 }), weight: 0.2 }]);
 */
export function composeRewards(terms: readonly (RewardTerm | RewardFunction)[], options: { name?: string } = {}): RewardFunction {
  const list = terms.map((term) => ('reward' in term ? { reward: term.reward, weight: term.weight ?? 1 } : { reward: term, weight: 1 }));
  if (list.length === 0) throw new EspalierError('bad_config', 'there is no reward function to compose', { fix: 'at least one' });
  const names = new Set<string>();
  for (const { reward, weight } of list) {
    if (names.has(reward.name)) throw new EspalierError('bad_config', `two reward functions are named "${reward.name}"`, { fix: 'give one another `name`' });
    if (!Number.isFinite(weight)) throw new EspalierError('bad_config', `the weight of "${reward.name}" is ${weight}`, { fix: 'a finite number' });
    names.add(reward.name);
  }
  const keeping = list.flatMap(({ reward }) => (reward.state ? [reward] : []));
  return defineReward({
    ...(keeping.length > 0 && {
      state: () => Object.fromEntries(keeping.map((reward) => [reward.name, reward.state!()])),
      restore: (state: unknown) => keeping.forEach((reward) => reward.restore?.((state as Record<string, unknown>)[reward.name])),
    }),
    name: options.name ?? [...names].join('+'),
    async score(samples, context) {
      const scores = await Promise.all(list.map(({ reward }) => reward.score(samples, context)));
      scores.forEach((column, k) => {
        if (column.length !== samples.length) throw new EspalierError('bad_data', `reward function "${list[k].reward.name}" gave ${column.length} rewards for ${samples.length} samples`, { fix: 'one a sample, null where it does not apply' });
      });
      return samples.map((_, i): Reward | null => {
        const components: Record<string, number> = {};
        const notes: string[] = [];
        let total = 0;
        let perToken: Float32Array | undefined;
        list.forEach(({ reward: { name }, weight }, k) => {
          const reward = scores[k][i];
          if (reward === null) return;
          components[name] = totalOf(reward);
          total += weight * components[name];
          if (typeof reward === 'number') return;
          if (reward.note) notes.push(`${name}: ${reward.note}`);
          if (reward.perToken) perToken = addWeighted(perToken, reward.perToken, weight, name);
        });
        if (Object.keys(components).length === 0) return null;
        return { total, components, ...(perToken ? { perToken } : {}), ...(notes.length > 0 ? { note: notes.join('; ') } : {}) };
      });
    },
  });
}

function addWeighted(sum: Float32Array | undefined, values: Float32Array, weight: number, name: string): Float32Array {
  if (sum && sum.length !== values.length) throw new EspalierError('bad_data', `"${name}" gave ${values.length} rewards per token where another function gave ${sum.length}`, { fix: 'one a token of the completion' });
  return values.map((v, t) => (sum ? sum[t] : 0) + weight * v);
}
