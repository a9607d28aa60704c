import { describeAlgorithm, describeObjective, sampleGroups, stubLearner } from '@espalier/testkit';
import { describe, expect, it } from 'vitest';
import { rankAdvantages, totalReward } from './advantages.js';
import { __camelName__Algorithm } from './algorithm.js';
import { policyGradient } from './policy-gradient.js';

describeAlgorithm(() => __camelName__Algorithm());
describeObjective(policyGradient, { weightColumn: 'advantages', columns: { advantages: ({ action, random }) => (action % 4 === 1 ? 0 : random(-1, 1)) } });

describe('advantages', () => {
  it('are places in the group, whatever the sizes of the rewards', () => {
    expect(rankAdvantages([0.1, 1000, 0.2], 1)).toEqual([-1, 1, 0]);
    expect(rankAdvantages([0.1, 1000, 0.2], 2)).toEqual([-2, 2, 0]);
  });

  it('are shared by equal rewards, and 0 where all are equal', () => {
    expect(rankAdvantages([1, 0, 0], 1)).toEqual([1, -0.5, -0.5]);
    expect(rankAdvantages([3, 3], 1)).toEqual([0, 0]);
  });

  it('leave out what nothing scored', () => {
    expect(rankAdvantages([null, -5, -6], 1)).toEqual([null, 1, -1]);
    expect(rankAdvantages([2], 1)).toEqual([0]);
  });

  it('are of the weighted sum of the rewards', () => {
    expect(totalReward({ right: 1, short: { total: 0.5 }, polite: null }, { short: 0.1 })).toBeCloseTo(1.05, 12);
    expect(totalReward({ right: null }, {})).toBeNull();
  });
});

it('logs what the rewards were, by name', async () => {
  const context = { step: 1, learner: stubLearner(), rewardWeights: { right: 2 }, maxCompletionLength: 8, temperature: 1 };
  const { metrics } = await __camelName__Algorithm().experience(sampleGroups({ rewards: [[1, 0, null], [0.5, 0.5, 0.5]] }), context);
  expect(metrics).toEqual({ reward: 1, 'rewards/right/mean': 0.5, frac_reward_zero_std: 0.5 });
});

it('refuses a scale that is none', () => {
  expect(() => __camelName__Algorithm({ scale: -1 })).toThrow('__name__: `scale` is -1');
});
