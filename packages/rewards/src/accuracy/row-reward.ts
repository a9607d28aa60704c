import { defineReward, EspalierError, type Reward, type RewardFunction, type RewardSample } from '@espalier/spec';

export interface RowRewardOptions {
  /** Makes a reward function of its name: `rewardByName`. */
  resolve: (name: string) => RewardFunction;
  /** Column of the row that names its reward function. Default `reward`. */
  column?: string;
  name?: string;
}

/**
 * Scores each sample by the reward function that its row names, as the rows of task families do: one reward for a mixture of families. Null for rows that name none.
 *
 * @throws EspalierError when scoring: `not_found` for a name that `resolve` does not know, `bad_data` for what is no name
 * @example
 * rowReward({ resolve: rewardByName }); // `--reward task`
 */
export function rowReward(options: RowRewardOptions): RewardFunction {
  const { resolve, column = 'reward', name = 'task' } = options;
  const made = new Map<string, RewardFunction>();
  return defineReward({
    name,
    async score(samples, context) {
      const places = new Map<string, number[]>();
      samples.forEach(({ row }, i) => {
        const wanted: unknown = row[column];
        if (wanted === undefined || wanted === null) return;
        if (typeof wanted !== 'string' || wanted === name) throw new EspalierError('bad_data', `the \`${column}\` of a row is ${JSON.stringify(wanted)}`, { fix: 'the name of a reward function, such as numeric' });
        places.set(wanted, [...(places.get(wanted) ?? []), i]);
      });
      const scores = new Array<Reward | null>(samples.length).fill(null);
      for (const [wanted, at] of places) {
        if (!made.has(wanted)) made.set(wanted, resolve(wanted));
        const part = await made.get(wanted)!.score(at.map((i): RewardSample => samples[i]), context);
        at.forEach((i, k) => (scores[i] = part[k]));
      }
      return scores;
    },
  });
}
