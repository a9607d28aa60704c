import type { TokenBatch } from '@espalier/spec';
import { expect, it } from 'vitest';
import { asOneStep, ownSequences, selectSequences } from './split-batch';

// Two prompts with two completions each, and a sequence that stands alone.
const batch: TokenBatch = {
  tokens: Int32Array.of(10, 11, 1, 2, 3, 20, 4, 5, 6, 30, 31),
  offsets: Int32Array.of(0, 2, 4, 5, 6, 7, 9, 11),
  prefixOf: Int32Array.of(-1, 0, 0, -1, 3, 3, -1),
  actionIndex: Int32Array.of(2, 3, 4, 6, 7, 8, 10),
  columns: { advantages: Float32Array.of(1, 2, 3, 4, 5, 6, 7) },
  pairs: Int32Array.of(1, 2, 4, 5),
  normalizer: { tokens: 7, sequences: 5 },
};

it('knows which sequences are only prefixes', () => {
  expect(ownSequences(batch)).toEqual([1, 2, 4, 5, 6]);
});

it('takes sequences with the prefixes that they need', () => {
  const part = selectSequences(batch, [5, 1]);
  expect(part).toEqual({
    tokens: Int32Array.of(10, 11, 1, 2, 20, 5, 6),
    offsets: Int32Array.of(0, 2, 4, 5, 7),
    prefixOf: Int32Array.of(-1, 0, -1, 2),
    actionIndex: Int32Array.of(2, 3, 5, 6),
    columns: { advantages: Float32Array.of(1, 2, 5, 6) },
    pairs: Int32Array.of(),
    normalizer: { tokens: 4, sequences: 2 },
  });
  expect([...selectSequences(batch, [4, 5]).pairs!]).toEqual([1, 2]);
});

it('every action is in one part, and the parts know the size of the step', () => {
  const parts = asOneStep([selectSequences(batch, [1, 4]), selectSequences(batch, [2]), selectSequences(batch, [5, 6])]);
  expect(parts.flatMap((part) => [...part.columns.advantages]).sort()).toEqual([1, 2, 3, 4, 5, 6, 7]);
  for (const part of parts) expect(part.normalizer).toEqual(batch.normalizer);
});
