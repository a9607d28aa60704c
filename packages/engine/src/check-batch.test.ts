import { describe, expect, it } from 'vitest';
import type { TokenBatch } from '@espalier/spec';
import { checkBatch } from './check-batch';

const good: TokenBatch = {
  tokens: Int32Array.of(1, 2, 3, 4, 5, 6),
  offsets: Int32Array.of(0, 3, 4, 6),
  prefixOf: Int32Array.of(-1, 0, 0),
  actionIndex: Int32Array.of(3, 4, 5),
  columns: { advantages: new Float32Array(3) },
  normalizer: { tokens: 3, sequences: 2 },
};
const limits = { vocabSize: 10, maxPositions: 5 };

describe('checkBatch', () => {
  it('takes a sound batch', () => expect(() => checkBatch(good, limits)).not.toThrow());

  it.each<[string, Partial<TokenBatch>, RegExp]>([
    ['offsets that do not cover the tokens', { offsets: Int32Array.of(0, 3, 4, 5) }, /offsets run from 0 to 5/],
    ['falling offsets', { offsets: Int32Array.of(0, 4, 3, 6) }, /offsets fall/],
    ['a prefix of a prefix', { prefixOf: Int32Array.of(-1, 0, 1) }, /which has a prefix of its own/],
    ['a prefix outside the batch', { prefixOf: Int32Array.of(-1, 7, 0) }, /names 7 as its prefix/],
    ['a token outside the vocabulary', { tokens: Int32Array.of(1, 2, 3, 4, 10, 6) }, /token 10 at index 4/],
    ['actions that do not ascend', { actionIndex: Int32Array.of(4, 3, 5) }, /does not ascend/],
    ['an action that nothing precedes', { actionIndex: Int32Array.of(0, 3, 4) }, /action 0 is the first token/],
    ['a column of the wrong length', { columns: { refLogps: new Float32Array(2) } }, /"refLogps" has 2 entries for 3/],
    ['half a pair', { pairs: Int32Array.of(1) }, /odd number/],
    ['a pair outside the batch', { pairs: Int32Array.of(1, 9) }, /names sequence 9/],
  ])('refuses %s', (_, change, message) => {
    expect(() => checkBatch({ ...good, ...change }, limits)).toThrowError(expect.objectContaining({ code: 'bad_data', message: expect.stringMatching(message) }));
  });

  it('counts the prefix into the length', () => {
    expect(() => checkBatch(good, { vocabSize: 10, maxPositions: 4 })).toThrow(/sequence 2 is 5 tokens long with its prefix/);
  });
});
