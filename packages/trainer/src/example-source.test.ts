import type { RowStream, StreamState } from '@espalier/data';
import { describe, expect, it } from 'vitest';
import { examplesInMemory, streamedExamples, type ExampleSource } from './example-source';
import type { Json } from './trainer-state';

/** Numbers 0 … size - 1, pass after pass. */
function numbers(size: number): RowStream {
  let [pass, at] = [0, 0];
  return {
    name: 'numbers',
    next: async () => {
      if (at < size) return { row: { n: at++ }, origin: {} };
      [pass, at] = [pass + 1, 0];
      return null;
    },
    progress: () => pass + (at / size) * 0.999,
    state: () => ({ pass, at }),
    restore: (state) => void ({ pass, at } = state as { pass: number; at: number }),
    digest: async () => ({}),
  };
}

const sources: Record<string, () => ExampleSource<number>> = {
  'in memory': () => examplesInMemory([10, 11, 12, 13, 14, 15, 16], { seed: 3, shuffle: true, dropLast: 0 }),
  'a row at a time': () => streamedExamples(numbers(23), { windowRows: 1, prepare: ({ row }) => (Number(row.n) % 3 === 0 ? null : [Number(row.n), -Number(row.n)]) }),
  'in windows that are arranged': () => streamedExamples(numbers(23), { windowRows: 5, prepare: ({ row }) => Number(row.n), arrange: (list) => [...list].reverse() }),
};

describe.each(Object.entries(sources))('examples %s', (_, make) => {
  const take = async (source: ExampleSource<number>, times: number) => {
    const taken: unknown[] = [];
    for (let i = 0; i < times; i++) {
      const { examples, more } = await source.take(4);
      taken.push([...examples], more, source.epoch());
    }
    return taken;
  };

  it('go on from a position saved anywhere', async () => {
    const whole = await take(make(), 24);
    for (let at = 0; at <= 24; at++) {
      const first = make();
      const before = await take(first, at);
      const second = make();
      second.restore(JSON.parse(JSON.stringify(first.state())) as Json);
      expect([...before, ...(await take(second, 24 - at))]).toEqual(whole);
    }
  });

  it('come all once a pass, whose end is said with its last', async () => {
    const source = make();
    const passes: number[][] = [];
    for (let pass = 0; pass < 3; pass++) {
      passes.push([]);
      for (let more = true; more; ) {
        const taken = await source.take(4);
        expect(taken.examples.length).toBeGreaterThan(0);
        passes[pass].push(...taken.examples);
        more = taken.more;
      }
      expect(Math.floor(source.epoch())).toBe(pass + 1);
    }
    const sorted = passes.map((pass) => [...pass].sort((a, b) => a - b));
    expect(sorted[1]).toEqual(sorted[0]);
    expect(sorted[2]).toEqual(sorted[0]);
    expect(new Set(sorted[0]).size).toBe(sorted[0].length);
  });
});

describe('streamedExamples', () => {
  it('leaves a last batch out that is too small', async () => {
    const source = streamedExamples(numbers(10), { prepare: ({ row }) => Number(row.n), dropLast: 4 });
    const taken = [];
    for (let i = 0; i < 5; i++) taken.push([...(await source.take(4)).examples]);
    expect(taken).toEqual([[0, 1, 2, 3], [4, 5, 6, 7], [0, 1, 2, 3], [4, 5, 6, 7], [0, 1, 2, 3]]);
  });

  it('says when a whole pass gives nothing', async () => {
    await expect(streamedExamples(numbers(10), { prepare: () => null }).take(4)).rejects.toThrow('a whole pass gave nothing to train on');
    await expect(streamedExamples(numbers(3), { prepare: ({ row }) => row.n, dropLast: 4 }).take(4)).rejects.toThrow('gave 3 rows, which do not fill one batch');
  });

  it('hands on what the stream throws', async () => {
    const broken: RowStream = { ...numbers(3), next: () => Promise.reject(new Error('line 7')), state: (): StreamState => ({}) };
    await expect(streamedExamples(broken, { prepare: () => 1 }).take(1)).rejects.toThrow('line 7');
  });
});
