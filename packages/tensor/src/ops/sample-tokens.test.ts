import { beforeAll, describe, expect, it } from 'vitest';
import { memory, sampleTokens, selectBackend, tensor2d } from '../index';
import type { SampleRow } from '../index';
import { testBackends, testNumbers } from '../testing';
import { philox, uniform } from './sample-row';

/** `B` equal rows. */
const repeated = (row: readonly number[], times: number) => tensor2d(Array.from({ length: times }, () => [...row]));

const draws = (row: readonly number[], times: number, settings: Partial<SampleRow>) => {
  const logits = repeated(row, times);
  const result = sampleTokens(logits, Array.from({ length: times }, (_, sample) => ({ seed: 7, sample, position: 0, ...settings })));
  logits.dispose();
  return result;
};

describe('the generator', () => {
  it('is Philox4x32-10: the known answers of Random123', () => {
    expect(philox([0, 0, 0, 0], [0, 0])).toEqual([0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
    const all = 0xffffffff;
    expect(philox([all, all, all, all], [all, all])).toEqual([0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
    expect(philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0])).toEqual([0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]);
  });

  it('stays strictly between 0 and 1', () => {
    for (let i = 0; i < 1000; i++) {
      const u = uniform([i, 0], i, 3 * i);
      expect(u).toBeGreaterThan(0);
      expect(u).toBeLessThan(1);
    }
  });
});

describe.each(await testBackends('cpu', 'native'))('sampling on %s', (backend) => {
  beforeAll(async () => void (await selectBackend(backend)));

  it('draws each token as often as its probability says', () => {
    const logits = [0.5, -1, 2, 0, -Infinity];
    const times = 20_000;
    for (const temperature of [1, 0.6]) {
      const { tokens, logps } = draws(logits, times, { temperature });
      const weights = logits.map((z) => Math.exp(z / temperature));
      const total = weights.reduce((a, b) => a + b, 0);
      weights.forEach((weight, token) => {
        const p = weight / total;
        const seen = tokens.filter((t) => t === token).length;
        expect(Math.abs(seen - p * times)).toBeLessThanOrEqual(5 * Math.sqrt(p * (1 - p) * times)); // five standard deviations
      });
      tokens.forEach((token, i) => expect(logps[i]).toBeCloseTo(Math.log(weights[token] / total), 5));
    }
  });

  it('is a function of seed, sample and position, whatever the batch', () => {
    const row = [...testNumbers(40, 3)];
    const rows: SampleRow[] = Array.from({ length: 12 }, (_, i) => ({ seed: 11 + (i % 2) * 2 ** 40, sample: i % 3, position: i }));
    const logits = repeated(row, 12);
    const all = sampleTokens(logits, rows);
    rows.forEach((settings, i) => {
      const one = repeated(row, 1);
      expect(sampleTokens(one, [settings]).tokens[0]).toBe(all.tokens[i]);
      one.dispose();
    });
    expect(new Set(all.tokens).size).toBeGreaterThan(3);
    logits.dispose();
  });

  it('is greedy at temperature 0, the lowest id among equals', () => {
    expect([...draws([1, 3, 3, -2], 2, { temperature: 0 }).tokens]).toEqual([1, 1]);
    expect([...draws([1, 3, 2.9], 1, { temperature: 0, repetitionPenalty: 1.5, history: Int32Array.of(1, 1) }).tokens]).toEqual([2]);
  });

  it('keeps to the filters', () => {
    const row = [2, 1.5, 1, 0.5, 0, -3];
    const support = (settings: Partial<SampleRow>) => [...new Set(draws(row, 3000, settings).tokens)].sort();
    expect(support({ topK: 2 })).toEqual([0, 1]);
    expect(support({ topP: 0.5 })).toEqual([0, 1]); // 0.40, 0.24, 0.15 …
    expect(support({ topP: 0.01 })).toEqual([0]);
    expect(support({ minP: 0.3 })).toEqual([0, 1, 2]);
    expect(support({ topK: 4, topP: 0.9 })).toEqual([0, 1, 2, 3]);
    expect(support({ topK: 100 }).length).toBeGreaterThanOrEqual(5);
  });

  it('refuses settings and logits that make no sense', () => {
    const before = memory().numTensors;
    expect(() => draws([1, 2], 1, { temperature: -1 })).toThrow(/`temperature` is -1/);
    expect(() => draws([1, 2], 1, { topP: 0 })).toThrow(/`topP` is 0/);
    expect(() => draws([1, 2], 1, { topK: 1.5 })).toThrow(/`topK` is 1.5/);
    expect(() => draws([1, 2], 1, { seed: 0.5 })).toThrow(/`seed` is 0.5/);
    expect(() => draws([NaN, 2], 1, {})).toThrow(/NaN/);
    expect(() => draws([-Infinity, -Infinity], 1, {})).toThrow();
    expect(memory().numTensors).toBe(before + 6); // the logits of the six throws
  });
});
