import { describe, expect, it } from 'vitest';
import { rowsInterval, wilsonInterval } from './intervals';

describe('wilsonInterval', () => {
  it('solves the equation that defines it: (p - share)² = z² p (1 - p) / n at both ends', () => {
    const z = 1.959963984540054;
    for (const total of [1, 2, 7, 40, 513, 5000])
      for (const right of new Set([0, 1, total >> 2, total >> 1, total - 1, total])) {
        const [low, high] = wilsonInterval(right, total);
        for (const p of [low, high]) if (!(p === 0 && right === 0) && !(p === 1 && right === total)) expect((p - right / total) ** 2).toBeCloseTo((z * z * p * (1 - p)) / total, 10);
        expect(low <= right / total && right / total <= high && low >= 0 && high <= 1).toBe(true);
      }
  });

  it('agrees with published values: Newcombe 1998, table I, method 3', () => {
    for (const [right, total, low, high] of [[81, 263, 0.2553, 0.3662], [15, 148, 0.0624, 0.1605], [0, 20, 0, 0.1611]] as const) {
      const found = wilsonInterval(right, total);
      expect(found[0]).toBeCloseTo(low, 4);
      expect(found[1]).toBeCloseTo(high, 4);
    }
  });

  it('refuses what is no share', () => {
    for (const [right, total] of [[1, 0], [-1, 3], [4, 3], [NaN, 3]]) expect(() => wilsonInterval(right, total)).toThrow('is no share');
  });
});

describe('rowsInterval', () => {
  it('is Wilson where a row is right or wrong', () => {
    const values = [1, 1, 0, 1, 0, 0, 0, 1, 1, 1];
    const [low, high] = rowsInterval(values)!;
    const expected = wilsonInterval(6, 10);
    expect(low).toBeCloseTo(expected[0], 12);
    expect(high).toBeCloseTo(expected[1], 12);
    expect(rowsInterval([])).toBeNull();
  });

  it('counts completions of a row as one draw where they all agree, and as many where they are independent', () => {
    const width = ([low, high]: readonly [number, number]) => high - low;
    const alike = [1, 0, 1, 0, 1, 0, 1, 0];
    expect(width(rowsInterval(alike, 4)!)).toBeCloseTo(width(wilsonInterval(4, 8)), 12);
    expect(width(rowsInterval(alike.map(() => 0.5), 4)!)).toBeCloseTo(width(wilsonInterval(16, 32)), 12);
    expect(rowsInterval([0, 0, 0], 4)).toEqual(wilsonInterval(0, 3)); // nothing says that the completions of a row are independent
  });

  it('holds the true share about as often as it says', () => {
    // Rows of a difficulty of their own, four completions each: a fixed sequence of numbers, so that the outcome is one.
    let state = 12345;
    const uniform = () => (state = (state * 1103515245 + 12345) % 2147483648) / 2147483648;
    let held = 0;
    for (let run = 0; run < 400; run++) {
      const values = Array.from({ length: 60 }, () => {
        const p = uniform();
        return [0, 0, 0, 0].filter(() => uniform() < p).length / 4;
      });
      const [low, high] = rowsInterval(values, 4)!;
      if (low <= 0.5 && 0.5 <= high) held++;
    }
    expect(held / 400).toBeGreaterThan(0.92);
  });
});
