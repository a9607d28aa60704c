import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { leaveOneOutAdvantages } from './advantages';
import { reinforcePlusPlusAdvantages } from './reinforce-advantages';

interface Case {
  options: { beta?: number; reward_clip_range?: [number, number]; normalize_advantages?: boolean };
  numGenerations: number;
  rewards: (number | null)[];
  kl: number[];
  advantages: number[];
}

// Made by tools/fixtures/make-policy-fixtures.py: the lines of TRL 1.16.0 in float64
const cases = JSON.parse(readFileSync(new URL('../fixtures/rloo-advantages-trl-1.16.0.json', import.meta.url), 'utf8')) as Case[];

describe('leaveOneOutAdvantages as TRL uses it', () => {
  it.each(cases.map((c) => [JSON.stringify(c.options), c.numGenerations, c] as const))('%s, groups of %i', (_, numGenerations, { options, rewards, kl, advantages }) => {
    const found = leaveOneOutAdvantages({ rewards, kl }, { numGenerations, beta: options.beta, rewardClipRange: options.reward_clip_range, normalizeAdvantages: options.normalize_advantages });
    expect(found).toHaveLength(advantages.length);
    advantages.forEach((a, i) => expect(found[i]).toBeCloseTo(a, 10));
  });
  it('refuses what does not fit', () => {
    expect(() => leaveOneOutAdvantages({ rewards: [1, 2] }, { numGenerations: 2, rewardClipRange: [1, 0] })).toThrow('`reward_clip_range` is [1, 0]');
    expect(() => leaveOneOutAdvantages({ rewards: [1, 2], kl: [1] }, { numGenerations: 2 })).toThrow('`kl` has 1 numbers for 2 rewards');
    expect(() => leaveOneOutAdvantages({ rewards: [1, 2], kl: [1, NaN] }, { numGenerations: 2, beta: 1 })).toThrow('`kl`[1] is NaN');
  });
});

describe('reinforcePlusPlusAdvantages', () => {
  const moments = (rows: number[][], mask?: number[][]) => {
    const values = rows.flatMap((row, i) => row.filter((_, t) => !mask || mask[i][t]));
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    return { mean, variance: values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length };
  };
  const kl = [[0.1, -0.2, 0.3], [0.05], [0.4, 0.2]];

  it('the return of a token is the reward less the penalty from there on (eq. 9)', () => {
    const found = reinforcePlusPlusAdvantages({ rewards: [1, -1, 0.5], kl }, { beta: 0.5, normalize: false });
    const expected = [[1 - 0.5 * 0.2, 1 - 0.5 * 0.1, 1 - 0.5 * 0.3], [-1 - 0.5 * 0.05], [0.5 - 0.5 * 0.6, 0.5 - 0.5 * 0.2]];
    expected.forEach((row, i) => row.forEach((v, t) => expect(found[i][t]).toBeCloseTo(v, 12)));
  });

  it('discounts with gamma, masked tokens taking no place', () => {
    const found = reinforcePlusPlusAdvantages({ rewards: [8], mask: [[1, 0, 1, 1]] }, { gamma: 0.5, normalize: false });
    expect(found).toEqual([[2, 0, 4, 8]]);
  });

  it('whitens over the tokens of the whole batch (eq. 11)', () => {
    const mask = [[1, 1, 0], [1], [1, 1]];
    const options = { beta: 0.5 };
    const plain = reinforcePlusPlusAdvantages({ rewards: [1, -1, 0.5], kl, mask }, { ...options, normalize: false });
    const found = reinforcePlusPlusAdvantages({ rewards: [1, -1, 0.5], kl, mask }, options);
    const { mean, variance } = moments(plain, mask);
    found.forEach((row, i) => row.forEach((v, t) => expect(v).toBeCloseTo(mask[i][t] ? (plain[i][t] - mean) / Math.sqrt(variance) : 0, 12)));
    expect(moments(found, mask).mean).toBeCloseTo(0, 12);
    expect(moments(found, mask).variance).toBeCloseTo(1, 12);
    expect(reinforcePlusPlusAdvantages({ rewards: [1, 0], lengths: [2, 2] })).toEqual([[1, 1], [-1, -1]]);
  });

  it('with the baseline, the mean of the group comes off first', () => {
    const found = reinforcePlusPlusAdvantages({ rewards: [3, 1, 10, 10], lengths: [1, 1, 1, 1] }, { baseline: true, numGenerations: 2, normalize: false });
    expect(found).toEqual([[1], [-1], [0], [0]]);
    expect(() => reinforcePlusPlusAdvantages({ rewards: [1], lengths: [1] }, { baseline: true })).toThrow('give `numGenerations`');
  });

  it('a completion that nothing could score counts nowhere', () => {
    const found = reinforcePlusPlusAdvantages({ rewards: [3, null, 1, NaN], lengths: [1, 2, 1, 1] }, { baseline: true, numGenerations: 4 });
    expect(found).toEqual([[1], [0, 0], [-1], [0]]);
  });

  it('without any variance, all are 0', () => expect(reinforcePlusPlusAdvantages({ rewards: [2, 2], lengths: [1, 1] })).toEqual([[0], [0]]));

  it('refuses what does not fit', () => {
    expect(() => reinforcePlusPlusAdvantages({ rewards: [1] })).toThrow('nothing says how many tokens');
    expect(() => reinforcePlusPlusAdvantages({ rewards: [1], kl: [[1], [1]] })).toThrow('1 rewards came with 2 completions');
    expect(() => reinforcePlusPlusAdvantages({ rewards: [1], kl: [[1, 2]], mask: [[1]] })).toThrow('`kl` has 2 numbers for completion 0 of 1 tokens');
    expect(() => reinforcePlusPlusAdvantages({ rewards: [1], kl: [[NaN]] })).toThrow('`kl`[0][0] is NaN');
    expect(() => reinforcePlusPlusAdvantages({ rewards: [Infinity], lengths: [1] })).toThrow('reward of completion 0');
    expect(() => reinforcePlusPlusAdvantages({ rewards: [1], lengths: [1] }, { gamma: 2 })).toThrow('`gamma` is 2');
  });
});
