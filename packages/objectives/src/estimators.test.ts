import type { TokenBatch } from '@espalier/spec';
import { describe, expect, it } from 'vitest';
import { groupAdvantages, leaveOneOutAdvantages } from './advantages';
import { aggregate } from './aggregation';
import { logImportanceRatio } from './importance';
import { klEstimate, klEstimators } from './kl';
import { rowsOf } from './rows';
import { maskedMean, maskedVariance, maskedWhiten, nanStd, quantile } from './statistics';
import { actionRows, batchNormalizer } from './token-batch';

const close = (found: ArrayLike<number>, expected: readonly number[], digits = 8) => {
  expect(found.length).toBe(expected.length);
  expected.forEach((v, i) => expect(found[i]).toBeCloseTo(v, digits));
};

describe('klEstimate', () => {
  it('at logp −1.0 and ref −1.3: TRL derives k1 = 0.3, k3 = 0.04081822', () => {
    const at = (estimator: (typeof klEstimators)[number]) => klEstimate({ logps: [-1], refLogps: [-1.3] }, { estimator }).values;
    close(at('k1'), [0.3]);
    close(at('k2'), [0.045]);
    close(at('k3'), [0.04081822]);
  });
  it.each(klEstimators)('%s: derivatives against finite differences', (estimator) => {
    const logps = [-1, -0.2, -3.1];
    const refLogps = [-1.3, -0.4, -2.2];
    const { grads } = klEstimate({ logps, refLogps }, { estimator });
    const f = (l: number, r: number) => klEstimate({ logps: [l], refLogps: [r] }, { estimator }).values[0];
    logps.forEach((l, i) => {
      expect(grads.logps[i]).toBeCloseTo((f(l + 1e-6, refLogps[i]) - f(l - 1e-6, refLogps[i])) / 2e-6, 6);
      expect(grads.refLogps[i]).toBeCloseTo((f(l, refLogps[i] + 1e-6) - f(l, refLogps[i] - 1e-6)) / 2e-6, 6);
    });
  });
  it('their means agree on samples of π as theory says', () => {
    // two outcomes, p = 0.3 against q = 0.45: weighting each outcome by p gives the expectation exactly
    const p = [0.3, 0.7];
    const q = [0.45, 0.55];
    const truth = p.reduce((total, v, i) => total + v * Math.log(v / q[i]), 0);
    for (const estimator of ['k1', 'k3'] as const) {
      const { values } = klEstimate({ logps: p.map(Math.log), refLogps: q.map(Math.log) }, { estimator });
      expect(p[0] * values[0] + p[1] * values[1]).toBeCloseTo(truth, 12);
    }
  });
  it('refuses what does not fit', () => {
    expect(() => klEstimate({ logps: [1], refLogps: [] })).toThrow('`logps` has 1 numbers and `refLogps` has 0');
    expect(() => klEstimate({ logps: [1], refLogps: [1] }, { estimator: 'k4' as never })).toThrow('one of k1, k2, k3');
  });
});

describe('groupAdvantages', () => {
  it('[1, 0, 0, 1]: std 0.57735, advantages ±0.86587543 (TRL)', () => {
    const { advantages, rewards, fracRewardZeroStd } = groupAdvantages({ rewards: [1, 0, 0, 1] }, { numGenerations: 4 });
    close(advantages, [0.86587543, -0.86587543, -0.86587543, 0.86587543]);
    expect([...rewards]).toEqual([1, 0, 0, 1]);
    expect(fracRewardZeroStd).toBe(0);
  });
  it('a group without variance teaches nothing and is counted', () => {
    const { advantages, fracRewardZeroStd } = groupAdvantages({ rewards: [1, 1, 0, 1] }, { numGenerations: 2 });
    close(advantages, [0, 0, -0.5 / (Math.SQRT1_2 + 1e-4), 0.5 / (Math.SQRT1_2 + 1e-4)]);
    expect(fracRewardZeroStd).toBe(0.5);
  });
  it('scales by the batch, or not at all', () => {
    const rewards = [1, 0, 5, 3];
    const std = nanStd(rewards);
    close(groupAdvantages({ rewards }, { numGenerations: 2, scaleRewards: 'batch' }).advantages, [0.5, -0.5, 1, -1].map((a) => a / (std + 1e-4)));
    close(groupAdvantages({ rewards }, { numGenerations: 2, scaleRewards: 'none' }).advantages, [0.5, -0.5, 1, -1]);
  });
  it('leaves unscored completions out of mean and std, with advantage 0', () => {
    const { advantages, rewards, unscorable } = groupAdvantages({ rewards: [1, null, 0, NaN] }, { numGenerations: 4 });
    close(advantages, [0.5 / (Math.SQRT1_2 + 1e-4), 0, -0.5 / (Math.SQRT1_2 + 1e-4), 0]);
    expect([...rewards]).toEqual([1, NaN, 0, NaN]);
    expect(unscorable).toBe(2);
  });
  it('a group that nobody could score, or but one completion of, gets zeros', () => {
    close(groupAdvantages({ rewards: [null, null, 3, null] }, { numGenerations: 2 }).advantages, [0, 0, 0, 0]);
    close(groupAdvantages({ rewards: [null, null, 3, null] }, { numGenerations: 2, scaleRewards: 'none' }).advantages, [0, 0, 0, 0]);
  });
  it('sums several functions with weights, null as absent', () => {
    const { rewards } = groupAdvantages({ rewards: [[1, 0], [null, 1], [0, null], [null, null]] }, { numGenerations: 4, rewardWeights: [0.7, 0.3] });
    expect([...rewards]).toEqual([0.7, 0.3, 0, NaN]);
  });
  it('normalize_then_sum: each function by its group, then the batch', () => {
    const rewards = [[1, 10], [0, 30], [0, 20], [1, 20]];
    const normalized = [0, 1].map((k) => [0, 2].flatMap((g) => {
      const pair = [rewards[g][k], rewards[g + 1][k]];
      const mean = (pair[0] + pair[1]) / 2;
      return pair.map((v) => (v - mean) / (nanStd(pair) + 1e-4));
    }));
    const summed = rewards.map((_, i) => 2 * normalized[0][i] + 0.5 * normalized[1][i]);
    const mean = summed.reduce((a, b) => a + b, 0) / 4;
    close(
      groupAdvantages({ rewards }, { numGenerations: 2, rewardWeights: [2, 0.5], multiObjectiveAggregation: 'normalize_then_sum' }).advantages,
      summed.map((v) => (v - mean) / (nanStd(summed) + 1e-4)),
    );
  });
  it('takes groups of different sizes', () => {
    close(groupAdvantages({ rewards: [1, 0, 5, 3, 4] }, { groupSizes: [2, 3], scaleRewards: 'none' }).advantages, [0.5, -0.5, 1, -1, 0]);
  });
  it('refuses what does not fit', () => {
    expect(() => groupAdvantages({ rewards: [1, 2, 3] }, { numGenerations: 2 })).toThrow('3 rewards do not make whole groups of 2');
    expect(() => groupAdvantages({ rewards: [1, Infinity] }, { numGenerations: 2 })).toThrow('reward 0 of completion 1 is Infinity');
    expect(() => groupAdvantages({ rewards: [[1, 2], [1]] }, { numGenerations: 2 })).toThrow('completion 1 has 1 rewards, completion 0 has 2');
    expect(() => groupAdvantages({ rewards: [1, 2] }, { numGenerations: 2, rewardWeights: [1, 2] })).toThrow('`reward_weights` has 2 entries for 1 reward functions');
    expect(() => groupAdvantages({ rewards: [1, 2] }, { numGenerations: 2, scaleRewards: 'all' as never })).toThrow('scale_rewards');
  });
});

describe('leaveOneOutAdvantages', () => {
  it('[1, 2, 3, 6] (TRL)', () => close(leaveOneOutAdvantages({ rewards: [1, 2, 3, 6] }, { numGenerations: 4 }), [-2.66666667, -1.33333333, 0, 4]));
  it('looks at scored completions alone', () => close(leaveOneOutAdvantages({ rewards: [1, null, 3, null, 5, null] }, { groupSizes: [4, 2] }), [-2, 0, 2, 0, 0, 0]));
});

describe('statistics', () => {
  it('masked: [2, 3] of [1, 2, 3, 4]', () => {
    expect(maskedMean([1, 2, 3, 4], [0, 1, 1, 0])).toBe(2.5);
    expect(maskedVariance([1, 2, 3, 4], [0, 1, 1, 0])).toBe(0.5);
    close(maskedWhiten([1, 2, 3, 4], [0, 1, 1, 0]), [-2.1213, -0.7071, 0.7071, 2.1213], 4);
    close(maskedWhiten([0, -0.1, 1], [1, 1, 1], { shiftMean: false }), [-0.19319695, -0.35759595, 1.45079303], 6);
    expect(() => maskedVariance([1, 2], [1, 0])).toThrow('needs two values');
  });
  it('nanStd', () => {
    expect(nanStd([1, 2, 3, NaN])).toBe(1);
    expect(nanStd([3, 5])).toBeCloseTo(Math.SQRT2, 12);
    expect(nanStd([1])).toBeNaN();
  });
  it('quantile interpolates', () => {
    expect(quantile([4, 1, 3, 2], 0.5)).toBe(2.5);
    expect(quantile([4, 1, 3, 2], 0)).toBe(1);
    expect(quantile([4, 1, 3, 2], 1)).toBe(4);
    expect(quantile(Array.from({ length: 11 }, (_, i) => i), 1 - 0.7)).toBe(3); // (1 − 0.7) · 10 is 3.0000000000000004
    expect(quantile([], 0.5)).toBeNaN();
  });
});

describe('aggregate', () => {
  const rows = rowsOf([3, 1]);
  const of = (name: 'grpo' | 'bnpo' | 'dapo' | 'dr_grpo' | 'luspo') => aggregate([1, 2, 3, 10], rows, name, { tokens: 4, sequences: 2 }, { maxCompletionLength: 5 }).item();
  it('each by its own divisor', () => {
    expect(of('grpo')).toBe((2 + 10) / 2);
    expect(of('bnpo')).toBe(4);
    expect(of('dapo')).toBe(4);
    expect(of('dr_grpo')).toBe(16 / 10);
    expect(of('luspo')).toBe(8);
  });
  it('needs a length for dr_grpo', () => expect(() => aggregate([1], rowsOf([1]), 'dr_grpo', { tokens: 1, sequences: 1 })).toThrow('max_completion_length'));
});

describe('logImportanceRatio', () => {
  it('of a token, or the mean over its sequence', () => {
    const rows = rowsOf([2, 1]);
    close(logImportanceRatio([-1, -2, -3], [-1.5, -2.1, -2], rows, 'token').values, [0.5, 0.1, -1]);
    close(logImportanceRatio([-1, -2, -3], [-1.5, -2.1, -2], rows, 'sequence').values, [0.3, 0.3, -1]);
  });
});

describe('actionRows', () => {
  // a prompt of 3 tokens, two completions of 2 that share it, a sequence of its own of 3
  const batch: TokenBatch = {
    tokens: new Int32Array(10), offsets: Int32Array.of(0, 3, 5, 7, 10), prefixOf: Int32Array.of(-1, 0, 0, -1),
    actionIndex: Int32Array.of(3, 4, 8, 9), columns: {}, normalizer: { tokens: 0, sequences: 0 },
  };
  it('a row a sequence, prompts left out, sequences without actions kept', () => {
    const rows = actionRows(batch);
    expect([...rows.offsets]).toEqual([0, 2, 2, 4]);
    expect([...rows.sequences]).toEqual([1, 2, 3]);
    expect(batchNormalizer(batch)).toEqual({ tokens: 4, sequences: 3 });
  });
  it('refuses actions out of order or out of range', () => {
    expect(() => actionRows({ ...batch, actionIndex: Int32Array.of(4, 3) })).toThrow('does not ascend');
    expect(() => actionRows({ ...batch, actionIndex: Int32Array.of(4, 12) })).toThrow('past the last token');
  });
});
