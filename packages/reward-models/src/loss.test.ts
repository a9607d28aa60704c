import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { TokenBatch } from '@espalier/spec';
import { prmLoss, rewardLoss } from './loss';
import { prmObjective, rewardObjective } from './objective';

interface Case {
  options: { center_rewards_coefficient: number | null };
  chosen: number[];
  rejected: number[];
  margins: number[] | null;
  loss: number;
  grads: { chosen: number[]; rejected: number[] };
  metrics: Record<string, number>;
}

const json = (name: string): unknown => JSON.parse(readFileSync(new URL(`../fixtures/${name}`, import.meta.url), 'utf8'));
const golden = json('losses-trl-1.16.0.json') as Record<string, number>;
const { cases } = json('losses-trl.json') as { cases: Case[] }; // tools/fixtures/make-reward-fixtures.py
const near = (value: number, expected: number, tolerance = 1e-9) => expect(Math.abs(value - expected), `${value} for ${expected}`).toBeLessThanOrEqual(tolerance * Math.max(1, Math.abs(expected)));

describe('rewardLoss', () => {
  const pair = { chosenRewards: [1.5], rejectedRewards: [0.5] };
  it.each<[string, Parameters<typeof rewardLoss>[0], Parameters<typeof rewardLoss>[1]]>([
    ['reward', pair, {}],
    ['reward margin.3', { ...pair, margins: [0.3] }, {}],
    ['reward center.01', pair, { centerRewardsCoefficient: 0.01 }],
  ])('golden: %s', (name, inputs, options) => near(rewardLoss(inputs, options).loss, golden[name], 1e-6));

  it.each(cases.map((c, i) => [i, c] as const))('TRL on random rewards %i: loss, gradients, metrics', (_i, { options, chosen, rejected, margins, loss, grads, metrics }) => {
    const found = rewardLoss({ chosenRewards: chosen, rejectedRewards: rejected, margins: margins ?? undefined }, { centerRewardsCoefficient: options.center_rewards_coefficient });
    near(found.loss, loss);
    found.grads.chosenRewards.forEach((g, i) => near(g, grads.chosen[i]));
    found.grads.rejectedRewards.forEach((g, i) => near(g, grads.rejected[i]));
    expect(Object.keys(found.metrics).sort()).toEqual(Object.keys(metrics).sort());
    for (const [name, value] of Object.entries(metrics)) expect(found.metrics[name], name).toBeCloseTo(value, 6); // TRL's accuracy is float32
  });

  it.each([
    [{ chosenRewards: [0.3, -2, 5], rejectedRewards: [1, -2.5, 4] }, {}],
    [{ chosenRewards: [0.3, -2], rejectedRewards: [1, -2.5], margins: [0.5, 2] }, { centerRewardsCoefficient: 0.1 }],
    [{ chosenRewards: [0.3, -2, 1], rejectedRewards: [1, -2.5, 1], labels: [0.9, 0.2, 0.5], margins: [0, 1, 0.2] }, { centerRewardsCoefficient: 0.01 }],
  ])('has the derivative of its loss: %j', (inputs, options) => {
    const { grads } = rewardLoss(inputs, options);
    const h = 1e-6;
    for (const side of ['chosenRewards', 'rejectedRewards'] as const)
      inputs[side].forEach((_, i) => {
        const at = (t: number) => rewardLoss({ ...inputs, [side]: inputs[side].map((x, j) => (j === i ? x + t : x)) }, options).loss;
        expect(grads[side][i]).toBeCloseTo((at(h) - at(-h)) / (2 * h), 7);
      });
  });

  it('with a soft label is the mixture of both orders, least where the odds are the label', () => {
    const [r, p] = [0.7, 0.8];
    const forward = rewardLoss({ chosenRewards: [r], rejectedRewards: [0] }).loss;
    const backward = rewardLoss({ chosenRewards: [0], rejectedRewards: [r] }).loss;
    near(rewardLoss({ chosenRewards: [r], rejectedRewards: [0], labels: [p] }).loss, p * forward + (1 - p) * backward);
    near(rewardLoss({ chosenRewards: [Math.log(p / (1 - p))], rejectedRewards: [0], labels: [p] }).grads.chosenRewards[0], 0);
    near(rewardLoss({ chosenRewards: [r], rejectedRewards: [0], labels: [1] }).loss, forward);
    expect(rewardLoss({ chosenRewards: [1, 0, 0], rejectedRewards: [0, 1, 1], labels: [0.9, 0.1, 0.5] }).metrics.accuracy).toBe(1);
  });

  it('is finite where rewards are far apart', () => {
    const { loss, grads } = rewardLoss({ chosenRewards: [-1000], rejectedRewards: [1000] });
    expect([loss, grads.chosenRewards[0]]).toEqual([2000, -1]);
  });

  it.each<[Parameters<typeof rewardLoss>[0], Parameters<typeof rewardLoss>[1], string, RegExp]>([
    [{ chosenRewards: [], rejectedRewards: [] }, {}, 'bad_data', /chosenRewards` is empty/],
    [{ chosenRewards: [1], rejectedRewards: [1, 2] }, {}, 'bad_data', /rejectedRewards` has 2 entries for 1/],
    [{ chosenRewards: [1], rejectedRewards: [NaN] }, {}, 'bad_data', /rejectedRewards\[0\] is NaN/],
    [{ chosenRewards: [1], rejectedRewards: [1], labels: [2] }, {}, 'bad_data', /labels\[0\] is 2/],
    [{ chosenRewards: [1], rejectedRewards: [1] }, { centerRewardsCoefficient: -1 }, 'bad_config', /center_rewards_coefficient/],
  ])('refuses %j', (inputs, options, code, message) => {
    expect(() => rewardLoss(inputs, options)).toThrow(expect.objectContaining({ code, message: expect.stringMatching(message) as string }));
  });
});

describe('prmLoss', () => {
  it('is the cross-entropy of two labels whose logits differ by the score', () => {
    const [scores, labels] = [[0.4, -2, 3], [1, 0, 0]];
    const wanted = scores.reduce((sum, s, i) => sum - Math.log(labels[i] ? Math.exp(s) / (1 + Math.exp(s)) : 1 / (1 + Math.exp(s))), 0) / 3;
    const found = prmLoss({ scores, labels });
    near(found.loss, wanted);
    near(found.metrics.accuracy, 2 / 3);
    const h = 1e-6;
    scores.forEach((_, i) => {
      const at = (t: number) => prmLoss({ scores: scores.map((x, j) => (j === i ? x + t : x)), labels }).loss;
      expect(found.grads.scores[i]).toBeCloseTo((at(h) - at(-h)) / (2 * h), 7);
    });
  });

  it('refuses what makes no sense', () => {
    expect(() => prmLoss({ scores: [], labels: [] })).toThrow(/empty/);
    expect(() => prmLoss({ scores: [1], labels: [1, 0] })).toThrow(/labels` has 2/);
    expect(() => prmLoss({ scores: [1], labels: [3] })).toThrow(/labels\[0\] is 3/);
  });
});

describe('the objectives', () => {
  const batch: TokenBatch = { tokens: new Int32Array(8), offsets: Int32Array.of(0, 2, 4, 6, 8), actionIndex: Int32Array.of(1, 3, 5, 7), columns: {}, pairs: Int32Array.of(0, 1, 3, 2), normalizer: { tokens: 4, sequences: 4 } };
  const scores = Float32Array.of(1, 0.5, -1, 2);

  it('are the formulas, pair by pair, whatever order the pairs have', () => {
    const columns = { margins: Float32Array.of(0.25, 0.25, 0.5, 0.5), labels: Float32Array.of(1, 1, 0.75, 0.75) };
    const found = rewardObjective({ centerRewardsCoefficient: 0.1 }).evaluate({ scores }, { ...batch, columns });
    const wanted = rewardLoss({ chosenRewards: [1, 2], rejectedRewards: [0.5, -1], margins: [0.25, 0.5], labels: [1, 0.75] }, { centerRewardsCoefficient: 0.1 });
    near(found.loss, wanted.loss);
    [wanted.grads.chosenRewards[0], wanted.grads.rejectedRewards[0], wanted.grads.rejectedRewards[1], wanted.grads.chosenRewards[1]].forEach((g, a) => expect(found.grads.scores![a]).toBeCloseTo(g, 6));
    const labels = Float32Array.of(1, 0, 0, 1);
    near(prmObjective().evaluate({ scores }, { ...batch, columns: { labels } }).loss, prmLoss({ scores: [...scores], labels: [...labels] }).loss);
  });

  it('add up over the parts of an optimiser step', () => {
    const whole = rewardObjective().evaluate({ scores }, batch);
    const half = (from: number) => ({ ...batch, tokens: new Int32Array(4), offsets: Int32Array.of(0, 2, 4), actionIndex: Int32Array.of(1, 3), pairs: from ? Int32Array.of(1, 0) : Int32Array.of(0, 1) });
    const parts = [0, 2].map((from) => rewardObjective().evaluate({ scores: scores.slice(from, from + 2) }, half(from)));
    near(parts[0].loss + parts[1].loss, whole.loss);
    near(parts[0].metrics.accuracy.sum + parts[1].metrics.accuracy.sum, whole.metrics.accuracy.sum);
  });

  it('name what a batch lacks', () => {
    const { pairs: _pairs, ...without } = batch;
    expect(() => rewardObjective().evaluate({ scores }, without)).toThrow(/no `pairs`/);
    expect(() => rewardObjective().evaluate({ scores: scores.slice(1) }, { ...batch, actionIndex: Int32Array.of(3, 5, 7) })).toThrow(/sequence 0 of a pair has no action/);
    expect(() => rewardObjective().evaluate({ scores }, { ...batch, actionIndex: Int32Array.of(0, 1, 5, 7) })).toThrow(/sequence 0 has more than one action/);
    expect(() => rewardObjective().evaluate({ scores: scores.map(() => NaN) }, batch)).toThrow(/diverged/);
    expect(() => prmObjective().evaluate({ scores }, batch)).toThrow(/no column `labels`/);
  });
});
