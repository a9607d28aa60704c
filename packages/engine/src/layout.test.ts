import { describe, expect, it } from 'vitest';
import { computedRows } from './layout';

describe('computedRows', () => {
  // A prompt, two completions of it, a sequence of its own; tokens are their places.
  const part = {
    tokens: Int32Array.from({ length: 13 }, (_, t) => t),
    offsets: Int32Array.of(0, 3, 6, 7, 13),
    prefixOf: Int32Array.of(-1, 0, 0, -1),
    actionIndex: Int32Array.of(3, 4, 5, 6, 9, 10),
  };

  it('leaves out what predicts nothing, and keeps prefixes whole', () => {
    const rows = computedRows(part, false);
    expect([...rows.tokens]).toEqual([0, 1, 2, 3, 4, 7, 8, 9]); // of a completion of one token nothing is left
    expect([...rows.offsets]).toEqual([0, 3, 5, 5, 8]);
    expect([...rows.positions]).toEqual([0, 1, 2, 3, 4, 0, 1, 2]);
    expect(rows.prefixOf).toBe(part.prefixOf);
    expect(Array.from(rows.predictors, (row) => rows.tokens[row])).toEqual([2, 3, 4, 2, 8, 9]);
    expect(rows.actions).toBeNull();
  });

  it('keeps the actions themselves where they are asked for', () => {
    const rows = computedRows(part, true);
    expect([...rows.tokens]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    expect(Array.from(rows.actions!, (row) => rows.tokens[row])).toEqual([3, 4, 5, 6, 9, 10]);
  });
});
