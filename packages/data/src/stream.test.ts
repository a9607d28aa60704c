import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { datasetOf } from './dataset';
import { loadRows } from './load-rows';
import interleaved from '../fixtures/interleave.json';
import { concatenateDatasets, interleaveDatasets, interleaveStreams, type MixtureOptions } from './mixture';
import { isRowStream, type RowStream } from './row-stream';
import { streamFiles, type StreamFilesOptions } from './stream-files';

let dir: string;
const shards = [37, 5, 20];
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'espalier-stream-'));
  let id = 0;
  for (const [i, rows] of shards.entries()) await writeFile(join(dir, `part-${i}.jsonl`), Array.from({ length: rows }, () => `{"text":"${'ü'.repeat(id % 7)}","id":${id++}}\n`).join(i === 1 ? '\r\n' : '') + (i === 2 ? '\n\n' : ''));
  await writeFile(join(dir, 'notes.txt'), '\uFEFFone\ntwo\r\n\n\nthree\n\n  \nfour');
  await mkdir(join(dir, 'empty'));
});
afterAll(() => rm(dir, { recursive: true }));

const open = (options: StreamFilesOptions = {}) => streamFiles(join(dir, 'part-*.jsonl'), { seed: 3, bufferSize: 8, ...options });
const ids = async (stream: RowStream, count = Infinity): Promise<number[]> => {
  const found: number[] = [];
  while (found.length < count) {
    const next = await stream.next();
    if (next === null) break;
    found.push(next.row.id as number);
  }
  return found;
};
const all = Array.from({ length: 62 }, (_, i) => i);

describe('streamFiles', () => {
  it('gives every row once a pass, mixed by seed and pass', async () => {
    const stream = await open();
    expect(isRowStream(stream)).toBe(true);
    const [first, second] = [await ids(stream), await ids(stream)];
    expect([...first].sort((a, b) => a - b)).toEqual(all);
    expect([...second].sort((a, b) => a - b)).toEqual(all);
    expect(first).not.toEqual(second);
    expect(first).not.toEqual(all);
    expect(await ids(await open())).toEqual(first);
    expect(await ids(await open({ seed: 4 }))).not.toEqual(first);
    expect(await ids(await open({ shuffle: false }))).toEqual(all);
  });

  it('goes on from a position saved anywhere, over the end of a pass and with rows in the buffer', async () => {
    const whole = await open();
    const expected = [...(await ids(whole)), ...(await ids(whole))];
    for (let at = 0; at < 100; at += 3) {
      const first = await open();
      const before = await ids(first, at);
      if (before.length < at) before.push(...(await ids(first, at - before.length))); // the pass ended
      const state = JSON.parse(JSON.stringify(first.state())) as ReturnType<RowStream['state']>;
      const second = await open();
      second.restore(state);
      expect(second.state()).toEqual(state);
      const after = await ids(second);
      if (before.length + after.length <= 62) after.push(...(await ids(second)));
      expect([...before, ...after]).toEqual(expected);
    }
  });

  it('says how far it is, without saying that a pass is over before its last row', async () => {
    const stream = await open({ bufferSize: 1000 });
    let before = 0;
    for (let i = 0; i < 62; i++) {
      await stream.next();
      expect(stream.progress()).toBeGreaterThan(before);
      before = stream.progress();
    }
    expect(before).toBeLessThan(1);
    expect(before).toBeGreaterThan(0.95);
    expect(await stream.next()).toBe(null);
    expect(stream.progress()).toBe(1);
  });

  it('reads text by line and by paragraph, and says where a row stands', async () => {
    const read = async (sampleBy: 'line' | 'paragraph') => {
      const stream = await streamFiles(join(dir, 'notes.txt'), { shuffle: false, sampleBy, textField: 'content' });
      const rows = [];
      for (let next = await stream.next(); next; next = await stream.next()) rows.push([next.row.content, next.origin.line]);
      return rows;
    };
    expect(await read('line')).toEqual([['one', 1], ['two', 2], ['three', 5], ['four', 8]]);
    expect(await read('paragraph')).toEqual([['one\ntwo', 1], ['three', 5], ['four', 8]]);
    const stream = await streamFiles(join(dir, 'notes.txt'), { sampleBy: 'paragraph', bufferSize: 5 });
    const first = await stream.next();
    const again = await streamFiles(join(dir, 'notes.txt'), { sampleBy: 'paragraph', bufferSize: 5 });
    again.restore(stream.state());
    const rest = [await again.next(), await again.next(), await again.next()];
    expect([first, ...rest].map((next) => next?.row.text).sort()).toEqual(['four', 'one\ntwo', 'three', undefined]);
  });

  it('reads lines that are longer than its buffer', async () => {
    const file = join(dir, 'long.jsonl');
    const long = 'äx'.repeat(400_000);
    await writeFile(file, `{"id":1,"text":"${long}"}\n{"id":2,"text":"b"}`);
    const stream = await streamFiles(file, { shuffle: false });
    expect((await stream.next())?.row.text).toBe(long);
    expect((await stream.next())?.row).toEqual({ id: 2, text: 'b' });
    expect(await stream.next()).toBe(null);
    await rm(file);
  });

  it('names file, line and field of what is wrong', async () => {
    const bad = join(dir, 'bad.jsonl');
    const failing = async (text: string | Uint8Array, options: StreamFilesOptions = {}) => {
      await writeFile(bad, text);
      const stream = await streamFiles(bad, { shuffle: false, accepted: ['language_modeling'], ...options });
      while ((await stream.next()) !== null);
    };
    await expect(failing('{"text":"a"}\n{"text":3}\n')).rejects.toThrow(/bad\.jsonl:2: `text`: .*found 3/);
    await expect(failing('{"text":"a"}\n\n{oops\n')).rejects.toThrow(/bad\.jsonl:3: not valid JSON/);
    await expect(failing(`{"text":"${'a'.repeat(3000)}"}`, { maxRowBytes: 1000 })).rejects.toThrow(/bad\.jsonl:1: the line has more than 1000 bytes/);
    await expect(failing(Uint8Array.of(0x7b, 0xff, 0x0a))).rejects.toThrow(/bad\.jsonl:1: not UTF-8/);
    await expect(failing('\n\n')).rejects.toThrow('has no rows');
    await expect(failing('')).rejects.toThrow('is empty');
    await expect(streamFiles(join(dir, 'none.jsonl'))).rejects.toMatchObject({ code: 'not_found' });
    await expect(streamFiles(join(dir, 'none-*.jsonl'))).rejects.toThrow('no file matches');
    await expect(streamFiles(join(dir, 'empty'))).rejects.toThrow('holds no .jsonl or text file');
    await expect(streamFiles(join(dir, 'notes.txt'), { bufferSize: 0 })).rejects.toThrow('`bufferSize` is 0');
    const stream = await open();
    expect(() => stream.restore({ pass: 0 })).toThrow('is no position');
    expect(() => stream.restore({ ...stream.state(), buffer: [0, 1e9, 5, 1] })).toThrow('shorter than when this position was saved');
    await rm(bad);
  });

  describe.each(['csv', 'parquet'] as const)('%s', (kind) => {
    const parquet = ['zstd', 'plain'].map((name) => fileURLToPath(new URL(`../fixtures/rows-${name}.parquet`, import.meta.url)));
    const open = async (options: StreamFilesOptions = {}) => {
      if (kind === 'parquet') return streamFiles(parquet, { seed: 3, bufferSize: 16, chat: 'none', ...options });
      for (const [i, size] of [40, 25].entries()) await writeFile(join(dir, `table-${i}.csv`), `\uFEFFkey,text\r\n${Array.from({ length: size }, (_, n) => `${i}-${n},"ü${n}\r\n""x"""\r\n${n % 5 ? '' : '\r\n'}`).join('')}`);
      return streamFiles(join(dir, 'table-*.csv'), { seed: 3, bufferSize: 16, ...options });
    };
    const drain = async (stream: RowStream, count = Infinity) => {
      const found: string[] = [];
      for (let next = null as Awaited<ReturnType<RowStream['next']>>; found.length < count && (next = await stream.next()) !== null; ) found.push(JSON.stringify([next.row, next.origin]));
      return found;
    };
    it('gives every row once a pass, as loading it does', async () => {
      const stream = await open();
      const loaded: string[] = [];
      for (const path of kind === 'parquet' ? parquet : [0, 1].map((i) => join(dir, `table-${i}.csv`))) {
        const rows = await loadRows(path, { chat: 'none' });
        for (let i = 0; i < rows.size; i++) loaded.push(JSON.stringify([rows.row(i), rows.origin(i)]));
      }
      expect(await drain(await open({ shuffle: false }))).toEqual(loaded);
      const [first, second] = [await drain(stream), await drain(stream)];
      expect([...first].sort()).toEqual([...loaded].sort());
      expect([...second].sort()).toEqual([...loaded].sort());
      expect(first).not.toEqual(second);
      expect(stream.progress()).toBe(2);
    });
    it('goes on from a position saved anywhere', async () => {
      const whole = await open();
      const expected = [...(await drain(whole)), ...(await drain(whole))];
      const pass = expected.length / 2;
      for (let at = 0; at < expected.length; at += 23) {
        const one = await open();
        const before = await drain(one, at);
        if (before.length < at) before.push(...(await drain(one, at - before.length)));
        const two = await open();
        two.restore(JSON.parse(JSON.stringify(one.state())) as ReturnType<RowStream['state']>);
        const after = await drain(two);
        if (before.length + after.length <= pass) after.push(...(await drain(two)));
        expect([...before, ...after]).toEqual(expected);
      }
    });
  });

  it('refuses gzip, which cannot be gone on with', async () => {
    await writeFile(join(dir, 'rows.jsonl.gz'), gzipSync('{"text":"a"}\n'));
    await expect(streamFiles(join(dir, 'rows.jsonl.gz'))).rejects.toMatchObject({ code: 'unsupported' });
  });

  it('stops when it is told to', async () => {
    await expect((await open()).next({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'aborted' });
  });

  it('tells corpora apart by names, sizes and ends', async () => {
    const digest = async () => (await open()).digest();
    const before = await digest();
    expect(await digest()).toEqual(before);
    await writeFile(join(dir, 'part-9.jsonl'), '{"id":62}\n');
    expect(await digest()).not.toEqual(before);
    await rm(join(dir, 'part-9.jsonl'));
  });
});

describe('mixtures', () => {
  const rows = (name: string, size: number) => datasetOf(Array.from({ length: size }, (_, i) => ({ id: `${name}${i}` })), name);
  const shown = (dataset: { size: number; row(i: number): Record<string, unknown> }, count = dataset.size) => Array.from({ length: count }, (_, i) => dataset.row(i).id);
  const [a, b] = [rows('a', 3), rows('b', 2)];

  it('in turn, until one is exhausted, or until all are (datasets.interleave_datasets)', () => {
    expect(shown(interleaveDatasets([a, b]))).toEqual(['a0', 'b0', 'a1', 'b1']);
    expect(shown(interleaveDatasets([a, b], { stoppingStrategy: 'all_exhausted' }))).toEqual(['a0', 'b0', 'a1', 'b1', 'a2', 'b0']);
  });

  it.each(Object.entries(interleaved.orders))(`in turn, %s, as datasets ${interleaved.versions.datasets}`, (stoppingStrategy, order) => {
    const sources = Object.entries(interleaved.sizes).map(([name, size]) => rows(name, size));
    expect(shown(interleaveDatasets(sources, { stoppingStrategy: stoppingStrategy as 'first_exhausted' }))).toEqual(order);
  });

  it('all rows once, whatever the weights', () => {
    const mixed = shown(interleaveDatasets([rows('a', 50), rows('b', 5)], { weights: [1, 1], seed: 3, stoppingStrategy: 'all_exhausted_without_replacement' }));
    expect(new Set(mixed).size).toBe(55);
    expect(mixed).toHaveLength(55);
    expect(mixed.indexOf('b4')).toBeLessThan(30);
  });

  it('by temperature: sizes or weights to the power of its inverse', () => {
    const share = (options: MixtureOptions) => {
      const mixed = interleaveDatasets([rows('a', 9000), rows('b', 1000)], { seed: 2, stoppingStrategy: 'all_exhausted', ...options });
      return shown(mixed, 4000).filter((id) => String(id).startsWith('b')).length / 4000;
    };
    // four standard deviations of a share among 4000 are 0.032 at most
    expect(Math.abs(share({ temperature: 1 }) - 0.1)).toBeLessThan(0.032);
    expect(Math.abs(share({ temperature: 2 }) - 1 / 4)).toBeLessThan(0.032); // √1000 : √9000 = 1 : 3
    expect(Math.abs(share({ temperature: 1e9 }) - 0.5)).toBeLessThan(0.032);
    expect(Math.abs(share({ temperature: 2, weights: [16, 1] }) - 1 / 5)).toBeLessThan(0.032);
    expect(() => share({ temperature: 0 })).toThrow('`temperature` of the mixture is 0');
  });

  it('by weights and a seed', () => {
    const [many, more] = [rows('a', 4000), rows('b', 4000)];
    const mixed = shown(interleaveDatasets([many, more], { weights: [1, 3], seed: 5 }));
    expect(mixed.filter((id) => String(id).startsWith('b')).at(-1)).toBe('b3999');
    expect(mixed.length / 4000).toBeCloseTo(4 / 3, 1);
    expect(new Set(mixed).size).toBe(mixed.length);
    expect(shown(interleaveDatasets([many, more], { weights: [1, 3], seed: 5 }))).toEqual(mixed);
    expect(shown(interleaveDatasets([many, more], { weights: [1, 3], seed: 6 }))).not.toEqual(mixed);
    const all = shown(interleaveDatasets([a, b], { weights: [9, 1], seed: 1, stoppingStrategy: 'all_exhausted' }));
    expect(new Set(all)).toEqual(new Set(['a0', 'a1', 'a2', 'b0', 'b1']));
    expect(all.at(-1)).toBe('b1'); // it ends with the row that exhausts the last source
  });

  it('with a source that has no end', () => {
    const endless = { name: 'c', size: Infinity, row: (i: number) => ({ id: `c${i}` }), origin: () => ({}) };
    expect(shown(interleaveDatasets([endless, b]))).toEqual(['c0', 'b0', 'c1', 'b1']);
    const mixed = interleaveDatasets([endless, b], { stoppingStrategy: 'all_exhausted' });
    expect(mixed.size).toBe(Infinity);
    expect(shown(mixed, 6)).toEqual(['c0', 'b0', 'c1', 'b1', 'c2', 'b0']);
    expect(mixed.row(2).id).toBe('c1');
  });

  it('one after another, by fractions', () => {
    expect(shown(concatenateDatasets([a, b]))).toEqual(['a0', 'a1', 'a2', 'b0', 'b1']);
    const part = shown(concatenateDatasets([{ dataset: rows('a', 100), fraction: 0.25 }, b], { seed: 2 }));
    expect(part).toHaveLength(27);
    expect(new Set(part).size).toBe(27);
    expect(() => concatenateDatasets([{ dataset: a, fraction: 2 }])).toThrow('the `fraction` of a is 2');
  });

  it('refuses weights that make no sense', () => {
    expect(() => interleaveDatasets([a, b], { weights: [1] })).toThrow('1 weights for 2 sources');
    expect(() => interleaveDatasets([a, b], { weights: [1, 0] })).toThrow('the weight of b is 0');
    expect(() => interleaveDatasets([])).toThrow('no sources');
  });

  it.each((['first_exhausted', 'all_exhausted', 'all_exhausted_without_replacement'] as const).flatMap((stoppingStrategy) => [[2, 1], undefined].map((weights) => ({ stoppingStrategy, weights }))))('streams, $stoppingStrategy, weights $weights: from any saved position on the same', async ({ stoppingStrategy, weights }) => {
    const make = async () => interleaveStreams([await streamFiles(join(dir, 'part-0.jsonl'), { seed: 1, bufferSize: 4 }), await streamFiles(join(dir, 'part-1.jsonl'), { seed: 2, bufferSize: 4 })], { weights, seed: 9, stoppingStrategy });
    const whole = await make();
    const expected = await ids(whole);
    expect(whole.progress()).toBe(1);
    if (stoppingStrategy !== 'first_exhausted') expect(new Set(expected).size).toBe(42);
    if (stoppingStrategy === 'all_exhausted_without_replacement') expect(expected).toHaveLength(42);
    if (stoppingStrategy !== 'first_exhausted') expect(whole.progress()).toBe(1);
    else expect(expected.length).toBeLessThan(42);
    for (let at = 0; at <= expected.length; at += 2) {
      const first = await make();
      const before = await ids(first, at);
      const second = await make();
      second.restore(JSON.parse(JSON.stringify(first.state())) as ReturnType<RowStream['state']>);
      expect([...before, ...(await ids(second))]).toEqual(expected);
    }
  });
});
