import { defineReward, EspalierError, type RewardFunction } from '@espalier/spec';
import type { TaskFamily, TaskRow } from './family';

/**
 * A reward function of families that check replies themselves: 1 or 0 by the `check` of the row's family, null for rows of other families.
 *
 * @throws EspalierError `bad_config` for a family that is checked by a named reward, of which the message says the name
 * @example
 * taskReward([riddles]); // a plugin gives it as one of its `rewards`
 */
export function taskReward(families: readonly TaskFamily[], options: { name?: string } = {}): RewardFunction {
  for (const { name, check, reward } of families) if (!check) throw new EspalierError('bad_config', `task family "${name}" has no \`check\``, { fix: `the reward function ${reward}` });
  return defineReward({
    name: options.name ?? families.map(({ name }) => name).join('+'),
    score: async (samples) =>
      samples.map(({ completion, row }) => {
        const family = families.find(({ name }) => name === row['family']);
        return family ? Number(family.check!(completion, row as TaskRow)) : null;
      }),
  });
}
