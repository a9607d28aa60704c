import { Random } from '@espalier/data';
import { describe, expect, it } from 'vitest';
import { drawDistinct } from './draw';
import { chainOfThoughtClamp, clampLabel, expectedScore, optionProbabilities, rescaleScore } from './soft-labels';

describe('soft labels', () => {
  it('clamps as Constitutional AI does', () => {
    expect(clampLabel(0.97, chainOfThoughtClamp)).toBe(0.6);
    expect(clampLabel(0.03, chainOfThoughtClamp)).toBe(0.4);
    expect(clampLabel(0.55, chainOfThoughtClamp)).toBe(0.55);
    expect(clampLabel(0.97, [0.2, 0.8])).toBe(0.8);
    expect(clampLabel(0.97, null)).toBe(0.97);
    expect(() => clampLabel(0.5, [0.6, 0.4])).toThrow(/label_clamp/);
    expect(() => clampLabel(0.5, [0.4, 1.1])).toThrow(/label_clamp/);
  });

  it('normalises the options alone, and gives null for what cannot be read', () => {
    expect(optionProbabilities([Math.log(0.03), Math.log(0.01)])![0]).toBeCloseTo(0.75, 12);
    expect(optionProbabilities([-5000, -5000])).toEqual([0.5, 0.5]);
    expect(optionProbabilities([-Infinity, -2])).toEqual([0, 1]);
    for (const logps of [[NaN, -1], [Infinity, -1], [-Infinity, -Infinity], []]) expect(optionProbabilities(logps)).toBeNull();
    expect(optionProbabilities([Math.log(0.02), Math.log(0.01)], 0.05)).toBeNull();
  });

  it('gives the expected score, on −1 … 1', () => {
    const uniform = new Array<number>(10).fill(0.1);
    expect(expectedScore(uniform)).toBeCloseTo(5.5, 12);
    expect(rescaleScore(5.5)).toBeCloseTo(0, 12);
    expect([rescaleScore(1), rescaleScore(10)]).toEqual([-1, 1]);
  });

  it('draws different items by weight', () => {
    const items = [{ id: 'a', weight: 3 }, { id: 'b', weight: 1 }, { id: 'c', weight: 1e-9 }];
    const first = Array.from({ length: 2000 }, (_, i) => drawDistinct(items, 2, new Random(i)));
    expect(first.every(([x, y]) => x !== y)).toBe(true);
    const share = first.filter(([{ id }]) => id === 'a').length / 2000;
    expect(share).toBeGreaterThan(0.7);
    expect(share).toBeLessThan(0.8);
    expect(() => drawDistinct(items, 4, new Random(1))).toThrow(/there are 3/);
  });
});
