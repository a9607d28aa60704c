import { describe, expect, it } from 'vitest';
import { goldLoss, goldTerms, thoughtAdvantages, thoughtLoss, valueTerms, type GoldLossOptions, type ThoughtLossOptions } from './loss';
import { gradients, variable } from '@espalier/objectives';

const logps = [[-1.03, -2.11, -0.52], [-1.49, -0.71, 7], [-0.3, -0.9, -2.2]];
const oldLogps = [[-1.2, -1.9, -1.1], [-1.1, -1.02, 9], [-0.42, -0.8, -2.1]];
const mask = [[1, 1, 1], [1, 1, 0], [1, 0, 1]];
const advantages = [1, -0.5, 0.7];

/** d loss / d logps by central differences. */
function numeric(lossAt: (rows: number[][]) => number): number[][] {
  return logps.map((row, r) => row.map((_, t) => {
    const moved = (h: number) => lossAt(logps.map((values, i) => values.map((v, j) => (i === r && j === t ? v + h : v))));
    return (moved(1e-6) - moved(-1e-6)) / 2e-6;
  }));
}
const expectClose = (found: number[][], expected: number[][]) => found.forEach((row, r) => row.forEach((g, t) => expect(g, `[${r}][${t}]`).toBeCloseTo(expected[r][t], 8)));

describe('the loss on thoughts (RLP)', () => {
  it('is −1/N Σ 1/|c| Σ min(ρA, clip(ρ)A)', () => {
    const [low, high] = [0.8, 1.2];
    let expected = 0;
    logps.forEach((row, r) => {
      const terms = row.flatMap((logp, t) => {
        if (!mask[r][t]) return [];
        const ratio = Math.exp(logp - oldLogps[r][t]);
        return [Math.min(ratio * advantages[r], Math.min(Math.max(ratio, low), high) * advantages[r])];
      });
      expected -= terms.reduce((a, b) => a + b, 0) / terms.length / 3;
    });
    expect(thoughtLoss({ logps, oldLogps, advantages, mask }).loss).toBeCloseTo(expected, 12);
  });

  it.each<ThoughtLossOptions>([{}, { epsilon: 0.1 }, { epsilon: 0.2, epsilonHigh: 0.6 }])('finite differences: %j', (options) => {
    const at = (rows: number[][]) => thoughtLoss({ logps: rows, oldLogps, advantages, mask }, options).loss;
    expectClose(thoughtLoss({ logps, oldLogps, advantages, mask }, options).grads.logps, numeric(at));
  });

  it('on policy: a token of a thought of length n has the derivative −A / (n N), whatever its log-prob', () => {
    const { grads } = thoughtLoss({ logps, advantages, mask });
    expectClose(grads.logps, mask.map((row, r) => row.map((counts) => (counts ? -advantages[r] / row.reduce((a, b) => a + b, 0) / 3 : 0))));
  });

  it('adds up from parts of a step', () => {
    const normalizer = { tokens: 7, sequences: 3 };
    const parts = [0, 1, 2].map((r) => thoughtLoss({ logps: [logps[r]], oldLogps: [oldLogps[r]], advantages: [advantages[r]], mask: [mask[r]], normalizer }).loss);
    expect(parts.reduce((a, b) => a + b, 0)).toBeCloseTo(thoughtLoss({ logps, oldLogps, advantages, mask }).loss, 12);
  });

  it('advantages are G/(G−1) · (r − mean), not divided by a spread: the distance from the mean of the others', () => {
    const rewards = [0.5, 2, -1, 0.25, 7, null, 3];
    const found = thoughtAdvantages(rewards, [4, 2, 1]);
    for (let i = 0; i < 4; i++) expect(found[i]).toBeCloseTo(rewards[i]! - [0, 1, 2, 3].filter((j) => j !== i).reduce((sum, j) => sum + rewards[j]!, 0) / 3, 12);
    expect(found.slice(4)).toEqual([null, null, null]);
    expect(thoughtAdvantages([0, 10], [2])).toEqual([-10, 10]);
  });
});

describe('GOLD', () => {
  it('weighs a token with max(p^½, 0.05)', () => {
    const p = [0.81, 0.0001];
    const { loss, grads, metrics } = goldLoss({ logps: [p.map(Math.log)] });
    expect(loss).toBeCloseTo(-(0.9 * Math.log(0.81) + 0.05 * Math.log(0.0001)) / 2, 12);
    expectClose(grads.logps, [[-0.45, -0.025]]);
    expect(metrics.gold_weight).toBeCloseTo(0.475, 12);
  });

  it.each<GoldLossOptions>([{}, { power: 1, floor: 0.2 }, { gold: false }])('finite differences, the weights held: %j', (options) => {
    const { floor = 0.05, power = 0.5, gold = true } = options;
    const held = logps.map((row) => row.map((logp) => (gold ? Math.max(Math.exp(logp * power), floor) : 1)));
    const at = (rows: number[][]) => -rows.reduce((sum, row, r) => sum + row.reduce((a, logp, t) => a + (mask[r][t] ? held[r][t] * logp : 0), 0), 0) / 7;
    expect(goldLoss({ logps, mask }, options).loss).toBeCloseTo(at(logps), 12);
    expectClose(goldLoss({ logps, mask }, options).grads.logps, numeric(at));
  });

  it('without weights is cross-entropy, and leaves out what does not count', () => {
    expect(goldLoss({ logps: [[-1, -3]] }, { gold: false }).loss).toBe(2);
    const given = variable([-1, -3]);
    const loss = goldTerms(given, [1, 0], { tokens: 1, sequences: 1 }, { gold: false });
    expect([loss.item(), ...gradients(loss, [given])[0]]).toEqual([1, -1, 0]);
    expect(() => goldLoss({ logps: [[-1]] }, { floor: 2 })).toThrow(/gold_floor/);
  });

  it('value prediction is the cross-entropy of the logistic function', () => {
    const [scores, correct] = [variable([2, -0.5]), [1, 0]];
    const loss = valueTerms(scores, correct, { tokens: 0, sequences: 2 });
    const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
    expect(loss.item()).toBeCloseTo(-(Math.log(sigmoid(2)) + Math.log(1 - sigmoid(-0.5))) / 2, 12);
    const slopes = gradients(loss, [scores])[0];
    expect(slopes[0]).toBeCloseTo((sigmoid(2) - 1) / 2, 12);
    expect(slopes[1]).toBeCloseTo(sigmoid(-0.5) / 2, 12);
  });
});
