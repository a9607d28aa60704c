import { describeRewardFunction, rewardSample } from '@espalier/testkit';
import { describe, expect, it } from 'vitest';
import { __camelName__Reward } from './reward.js';

const words = (count: number) => rewardSample({ completion: Array.from({ length: count }, () => 'word').join(' ') });

describeRewardFunction(() => __camelName__Reward());

describe('__camelName__Reward', () => {
  it('falls from 1 at `maxWords` to 0 at twice as many', async () => {
    expect(await __camelName__Reward({ maxWords: 10 }).score([words(3), words(10), words(15), words(20), words(80)], { step: 0 })).toEqual([1, 1, 0.5, 0, 0]);
  });

  it('says nothing of an empty completion', async () => {
    expect(await __camelName__Reward().score([words(0)], { step: 0 })).toEqual([null]);
  });

  it('takes numbers as text, and refuses what is none', () => {
    expect(() => __camelName__Reward({ maxWords: '12' as never })).not.toThrow();
    for (const maxWords of [0, NaN, Infinity, 'many' as never]) expect(() => __camelName__Reward({ maxWords })).toThrow('__name__: `maxWords` is');
  });
});
