import { describe, expect, it } from 'vitest';
import { decodeFloat32, decodeFloat64, encodeFloat32, encodeFloat64 } from './column-codec';
import { smooth } from './smooth';
import { minMaxIndices } from './thin';

describe('thinning', () => {
  it('keeps first, last and the extremes of every part, in order', () => {
    const values = Float32Array.from({ length: 100_000 }, (_, i) => Math.sin(i / 500));
    values[31_415] = 9;
    values[70_001] = -9;
    const kept = minMaxIndices(values, 0, values.length, 300);
    expect(kept.length).toBeLessThanOrEqual(602);
    expect(kept.every((index, i) => i === 0 || index > kept[i - 1])).toBe(true);
    for (const index of [0, 31_415, 70_001, 99_999]) expect(kept).toContain(index);
  });

  it('leaves what is short whole, and takes part of a range', () => {
    expect(minMaxIndices([3, 1, 2], 0, 3, 10)).toEqual([0, 1, 2]);
    expect(minMaxIndices([], 0, 0, 10)).toEqual([]);
    expect(minMaxIndices([5, 3, 1, 2], 1, 3, 10)).toEqual([1, 2]);
    expect(minMaxIndices([0, 9, 1, 2, -5, 3], 0, 6, 2)).toEqual([0, 1, 2, 3, 4, 5]); // no more than two a part and the ends
    expect(minMaxIndices([0, 9, 1, 2, -5, 3, 3, 3], 0, 8, 2)).toEqual([0, 1, 4, 5, 7]);
  });

  it('a part of gaps stays a gap', () => {
    const values = [...Array<number>(10).fill(1), ...Array<number>(10).fill(NaN), ...Array<number>(10).fill(2)];
    const kept = minMaxIndices(values, 0, 30, 3);
    expect(kept.some((i) => Number.isNaN(values[i]))).toBe(true);
  });
});

describe('smoothing', () => {
  it('is an average without the pull of its beginning', () => {
    expect([...smooth([2, 2, 2], 0.9)].map((v) => Number(v.toFixed(6)))).toEqual([2, 2, 2]);
    const [a, b] = smooth([1, 3], 0.5);
    expect(a).toBeCloseTo(1, 6);
    expect(b).toBeCloseTo((0.5 * 0.5 * 1 + 0.5 * 3) / 0.75, 6);
    expect([...smooth([1, NaN, 1], 0.5)]).toEqual([1, NaN, 1]);
  });
});

describe('columns', () => {
  it('go through base64 and back', () => {
    const values = Float32Array.from({ length: 40_000 }, (_, i) => (i % 7 === 0 ? NaN : i / 3));
    expect(decodeFloat32(encodeFloat32(values))).toEqual(values);
    expect([...decodeFloat64(encodeFloat64([1, 2 ** 40, -0.1]))]).toEqual([1, 2 ** 40, -0.1]);
    expect(decodeFloat32(encodeFloat32([]))).toHaveLength(0);
  });
});
