import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { effectiveSampleSize, importanceCorrection, samplerMismatch, type ImportanceCorrectionMode } from './importance-correction';
import { rowsOf } from './rows';

interface Case {
  mode: ImportanceCorrectionMode;
  clipMin: number | null;
  clipMax: number | null;
  oldLogps: number[][];
  samplerLogps: number[][];
  ratio: number[][];
}

// Made by tools/fixtures/make-policy-fixtures.py: the lines of TRL 1.16.0 in float64
const cases = JSON.parse(readFileSync(new URL('../fixtures/importance-correction-trl-1.16.0.json', import.meta.url), 'utf8')) as Case[];
const close = (found: ArrayLike<number>, expected: readonly number[]) => expected.forEach((v, i) => expect(found[i]).toBeCloseTo(v, 10));

describe('importanceCorrection', () => {
  it.each(cases.map((c) => [c.mode, c.clipMin, c.clipMax, c] as const))('%s within [%s, %s] is TRL', (mode, clipMin, clipMax, { oldLogps, samplerLogps, ratio }) => {
    const found = importanceCorrection({ oldLogps: oldLogps.flat(), samplerLogps: samplerLogps.flat(), rows: rowsOf(oldLogps.map((row) => row.length)) }, { mode, clipMin, clipMax });
    expect(found.ratio).toHaveLength(ratio.flat().length);
    close(found.ratio, ratio.flat());
  });

  const inputs = { oldLogps: [-1, -1, -2], samplerLogps: [-1 - Math.log(4), -1, -2 - Math.log(2)], rows: rowsOf([2, 0, 1]) }; // w: 4, 1 | 2

  it('the geometric mean of a sequence, inside the bounds or 0', () => {
    close(importanceCorrection(inputs, { mode: 'geometric_mask', clipMax: 3 }).ratio, [2, 2, 2]); // √(4 · 1)
    close(importanceCorrection({ ...inputs, samplerLogps: [-1 - Math.log(4), -1 - Math.log(4), -2] }, { mode: 'geometric_mask', clipMax: 3, clipMin: 0.5 }).ratio, [0, 0, 1]);
  });

  it('counts what lay outside and the effective sample size by tokens or by sequences, empty ones left out', () => {
    const byToken = importanceCorrection(inputs, { mode: 'token_mask' });
    close(byToken.raw, [4, 1, 2]);
    expect(byToken.clippedShare).toBeCloseTo(1 / 3, 12);
    expect(byToken.effectiveSampleSize).toBeCloseTo(9 / (3 * 5), 12); // weights 0, 1, 2
    const bySequence = importanceCorrection(inputs, { mode: 'sequence_truncate' });
    close(bySequence.raw, [4, 2]);
    close(bySequence.ratio, [3, 3, 2]);
    expect(bySequence.clippedShare).toBe(0.5);
    expect(bySequence.effectiveSampleSize).toBeCloseTo(25 / (2 * 13), 12);
  });

  it('a token that the sampler gave no log-prob for weighs 1', () => close(importanceCorrection({ ...inputs, samplerLogps: [NaN, NaN, NaN] }, { mode: 'token_mask' }).ratio, [1, 1, 1]));

  it('refuses what does not fit', () => {
    expect(() => importanceCorrection(inputs, { mode: 'none' as never })).toThrow('`importance_sampling_mode` "none" is unknown');
    expect(() => importanceCorrection(inputs, { clipMin: 3 })).toThrow('`importance_sampling_clip_min` 3 is not below');
    expect(() => importanceCorrection({ ...inputs, oldLogps: [-1] })).toThrow('`oldLogps` has 1 numbers and `samplerLogps` 3 for 3 tokens');
    expect(() => importanceCorrection({ ...inputs, oldLogps: [-1, NaN, -1] })).toThrow('token 1 has the log-prob NaN');
  });
});

describe('samplerMismatch', () => {
  it('mean and largest difference, and a KL that has its expectation right', () => {
    // two outcomes with μ = 0.3, 0.7 and π_old = 0.45, 0.55: weighting each by μ gives the expectation exactly
    const [mu, old] = [[0.3, 0.7], [0.45, 0.55]];
    const truth = mu.reduce((sum, p, i) => sum + p * Math.log(p / old[i]), 0);
    const kl = mu.map((p, i) => p * samplerMismatch([Math.log(old[i])], [Math.log(p)]).kl).reduce((a, b) => a + b, 0);
    expect(kl).toBeCloseTo(truth, 12);
    const found = samplerMismatch([-1, -2, -3], [-1.5, NaN, -2.75]);
    expect(found).toMatchObject({ count: 2, differences: { sum: 0.75, max: 0.5 } });
  });
  it('effective sample size', () => {
    expect(effectiveSampleSize([2, 2, 2])).toBe(1);
    expect(effectiveSampleSize([1, 0, 0, 0])).toBe(0.25);
    expect(effectiveSampleSize([0, 0])).toBe(0);
    expect(effectiveSampleSize([])).toBe(1);
  });
});
