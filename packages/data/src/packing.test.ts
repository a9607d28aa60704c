import { describe, expect, it } from 'vitest';
import golden from '../fixtures/packing-trl-1.16.0.json';
import { packSequences, type PackingStrategy } from './packing';

describe('packSequences', () => {
  it.each(golden.cases)('$strategy of $lengths.length sequences into $max_length: TRL, row for row', ({ lengths, max_length, strategy, rows }) => {
    const packed = packSequences(lengths, max_length, strategy as PackingStrategy);
    const asRuns = packed.map((row) => row.map(({ item, start, end }) => [1000 * item + start, 1000 * item + end]));
    expect(strategy === 'wrapped' ? asRuns.map((row) => [row]) : asRuns.map((row) => row.map((run) => [run]))).toEqual(rows);
  });
  it('is TRL\'s own example', () => {
    const shown = (strategy: PackingStrategy) => packSequences([5, 2, 3, 1], 4, strategy).map((row) => row.map(({ item, start, end }) => `${item}:${start}-${end}`));
    expect(shown('bfd')).toEqual([['0:0-4'], ['2:0-3', '3:0-1'], ['1:0-2']]);
    expect(shown('bfd_split')).toEqual([['0:0-4'], ['2:0-3', '0:4-5'], ['1:0-2', '3:0-1']]);
    expect(shown('wrapped')).toEqual([['0:0-4'], ['0:4-5', '1:0-2', '2:0-1'], ['2:1-3', '3:0-1']]);
  });
  it('refuses what makes no sense', () => {
    expect(() => packSequences([1], 0, 'bfd')).toThrow('`max_length` 0');
    expect(() => packSequences([1], 4, 'best' as PackingStrategy)).toThrow('one of bfd, bfd_split, wrapped');
  });
});
