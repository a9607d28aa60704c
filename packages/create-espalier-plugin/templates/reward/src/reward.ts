import { defineReward, EspalierError, type RewardFunction } from '@espalier/spec';

export interface __PascalName__Options {
  /** Words up to which a completion earns 1. Default 40. */
  maxWords?: number;
}

/**
 * Rewards few words: 1 up to `maxWords`, falling to 0 at twice as many. `null` for an empty completion: it is left out and counted, never scored 0.
 * @throws EspalierError `bad_config`
 * @example
 * const reward = __camelName__Reward({ maxWords: 20 });
 */
export function __camelName__Reward(options: __PascalName__Options = {}): RewardFunction {
  const maxWords = Number(options.maxWords ?? 40); // from a command line, options come as text
  if (!(maxWords >= 1 && maxWords < Infinity)) throw new EspalierError('bad_config', `__name__: \`maxWords\` is ${JSON.stringify(options.maxWords)}`, { fix: 'a number from 1' });
  return defineReward({
    name: '__name__',
    score: async (samples) =>
      samples.map(({ completion }) => {
        const words = completion.split(/\s+/).filter((word) => word !== '').length;
        return words === 0 ? null : Math.min(1, Math.max(0, 2 - words / maxWords));
      }),
  });
}
