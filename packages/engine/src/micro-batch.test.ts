import { describe, expect, it } from 'vitest';
import type { TokenBatch } from '@espalier/spec';
import { gather, microBatches, objectiveBatch, scatterOutputs } from './micro-batch';

/** Two prompts of 3 and 2 tokens; samples of 2, 3 (first prompt) and 1, 2 (second); a plain sequence of 4 with actions on its last two. */
const batch: TokenBatch = {
  tokens: Int32Array.from({ length: 17 }, (_, t) => 100 + t),
  offsets: Int32Array.of(0, 3, 5, 7, 10, 11, 13, 17),
  prefixOf: Int32Array.of(-1, -1, 0, 0, 1, 1, -1),
  actionIndex: Int32Array.of(5, 6, 7, 8, 9, 10, 11, 12, 15, 16),
  columns: { advantages: Float32Array.from({ length: 10 }, (_, a) => a) },
  normalizer: { tokens: 10, sequences: 5 },
};

describe('microBatches', () => {
  it('keeps each prefix with those that start from it, and each action in exactly one part', () => {
    for (const budget of [1, 4, 6, 8, 11, 100]) {
      const parts = microBatches(batch, 'sequence', budget);
      expect(parts.flatMap(({ actions }) => [...actions]).sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
      for (const { part, actions, sequences } of parts) {
        if (sequences.length > 2) expect(part.tokens.length).toBeLessThanOrEqual(Math.max(budget, 6)); // 6: the longest unit
        actions.forEach((a, i) => expect(part.tokens[part.actionIndex[i]]).toBe(batch.tokens[batch.actionIndex[a]]));
        part.prefixOf.forEach((prefix, s) => {
          if (prefix < 0) return;
          expect(prefix).toBeLessThan(s);
          expect([...part.tokens.slice(part.offsets[prefix], part.offsets[prefix + 1])]).toEqual([...batch.tokens.slice(batch.offsets[batch.prefixOf![sequences[s]]], batch.offsets[batch.prefixOf![sequences[s]] + 1])]);
        });
      }
    }
    expect(microBatches(batch, 'sequence', 100)).toHaveLength(1);
    expect(microBatches(batch, 'sequence', 1)).toHaveLength(5);
  });

  it('counts a shared prefix once', () => {
    expect(microBatches(batch, 'sequence', 8)[0].part.tokens).toHaveLength(8); // 3 + 2 + 3
  });

  it('does not tear pairs apart and numbers them anew', () => {
    const paired: TokenBatch = { ...batch, pairs: Int32Array.of(2, 5, 4, 3) };
    const parts = microBatches(paired, 'pair', 1);
    expect(parts.map(({ own }) => [...own].sort())).toEqual([[2, 5], [3, 4], [6]]);
    const seen = parts.flatMap((micro) => {
      const { pairs } = objectiveBatch(paired, micro);
      return Array.from(pairs!, (s) => micro.sequences[s]);
    });
    expect(seen).toEqual([2, 5, 4, 3]);
  });

  it('gives a prefix that has actions of its own to one part only', () => {
    const withPrompt: TokenBatch = { ...batch, actionIndex: Int32Array.of(1, 2, 5, 6, 7, 8, 9, 10, 11, 12), columns: {} };
    const parts = microBatches(withPrompt, 'token', 1);
    expect(parts.flatMap(({ actions }) => [...actions]).sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  it('slices columns and puts outputs back', () => {
    const whole = {};
    for (const micro of microBatches(batch, 'token', 6)) {
      const sliced = objectiveBatch(batch, micro);
      expect(sliced.normalizer).toEqual(batch.normalizer);
      expect(sliced.columns.advantages).toEqual(gather(batch.columns.advantages, micro.actions));
      scatterOutputs(whole, { logps: sliced.columns.advantages }, micro.actions, 10);
    }
    expect(whole).toEqual({ logps: batch.columns.advantages });
  });
});
