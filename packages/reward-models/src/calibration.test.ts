import { describe, expect, it } from 'vitest';
import { accuracyBySlice, calibration } from './calibration';
import { sigmoidOf } from './reward-loss';

/** Pairs whose better one is chosen with the probability that Bradley and Terry give it, scaled. */
function pairsOf(size: number, overconfidence: number) {
  let state = 12345;
  const draw = () => (state = (state * 48271) % 2147483647) / 2147483647;
  const ahead = Array.from({ length: size }, () => 6 * draw() - 3);
  const chosen = ahead.map((d) => (draw() < sigmoidOf(d) ? overconfidence * d : -overconfidence * d));
  return { chosenRewards: chosen, rejectedRewards: chosen.map(() => 0) };
}

describe('calibration', () => {
  it('finds a model that says what it knows calibrated, and one that is too sure not; the temperature says by how much', () => {
    const honest = calibration(pairsOf(20_000, 1));
    expect(honest.ece).toBeLessThan(0.02);
    expect(honest.temperature).toBeCloseTo(1, 1);
    const sure = calibration(pairsOf(20_000, 3));
    expect(sure.ece).toBeGreaterThan(0.08);
    expect(sure.temperature).toBeCloseTo(3, 0);
    expect(sure.accuracy).toBe(honest.accuracy);
    expect(honest.bins.reduce((n, { count }) => n + count, 0)).toBe(20_000);
  });

  it('by hand', () => {
    const logit = (p: number) => Math.log(p / (1 - p));
    const found = calibration({ chosenRewards: [logit(0.6), 0, logit(0.9), 0], rejectedRewards: [0, logit(0.6), 0, 0] }, { bins: 5 });
    // confidences .6 (right), .6 (wrong), .9 (right), .5 (a tie)
    expect(found.accuracy).toBeCloseTo((1 + 0 + 1 + 0.5) / 4, 12);
    const filled = found.bins.filter(({ count }) => count > 0);
    expect(filled.map(({ count }) => count).reduce((a, b) => a + b)).toBe(4);
    expect(found.ece).toBeCloseTo(0.5 * 0.1 + 0.25 * 0.1 + 0.25 * 0, 10);
    expect(found.mce).toBeCloseTo(0.1, 10);
    expect(found.brier).toBeCloseTo((0.4 ** 2 + 0.6 ** 2 + 0.1 ** 2 + 0.5 ** 2) / 4, 12);
  });

  it('has its ends: always right, never, soft labels', () => {
    expect(calibration({ chosenRewards: [1, 2], rejectedRewards: [0, 0] }).temperature).toBe(0);
    expect(calibration({ chosenRewards: [0, 0], rejectedRewards: [1, 2] }).temperature).toBe(Infinity);
    const soft = calibration({ chosenRewards: [2], rejectedRewards: [0], labels: [0.75] });
    expect(soft.accuracy).toBe(0.75);
    expect(sigmoidOf(2 / soft.temperature)).toBeCloseTo(0.75, 8);
    expect(() => calibration({ chosenRewards: [], rejectedRewards: [] })).toThrow(/empty/);
    expect(() => calibration({ chosenRewards: [1], rejectedRewards: [NaN] })).toThrow(/NaN/);
    expect(() => calibration({ chosenRewards: [1], rejectedRewards: [0] }, { bins: 0 })).toThrow(/0 bins/);
  });
});

describe('accuracyBySlice', () => {
  it('says where a model is weak', () => {
    const pairs = { chosenRewards: [1, 0, 3, 2], rejectedRewards: [0, 1, 1, 2] };
    expect(accuracyBySlice(pairs, ['chat', 'code', 'chat', 'code'])).toEqual({ chat: { count: 2, accuracy: 1, margin: 1.5 }, code: { count: 2, accuracy: 0.25, margin: -0.5 } });
    expect(() => accuracyBySlice(pairs, ['chat'])).toThrow(/1 slices for 4 pairs/);
  });
});
