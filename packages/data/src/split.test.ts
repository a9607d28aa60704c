import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { arithmeticTask, datasetByRef, datasetOf, parseDatasetRef, split, type Dataset } from './index';

let dir: string;
beforeAll(() => void (dir = mkdtempSync(join(tmpdir(), 'espalier-split-'))));
afterAll(() => {
  vi.unstubAllEnvs();
  rmSync(dir, { recursive: true });
});
const rows = (size: number) => datasetOf(Array.from({ length: size }, (_, id) => ({ id })));
const ids = (dataset: Dataset) => Array.from({ length: dataset.size }, (_, i) => dataset.row(i).id as number);

describe('split', () => {
  it.each([1, 2, 3, 7].flatMap((seed) => [10, 11, 97, 1000].map((size) => ({ seed, size }))))('of $size rows with seed $seed: disjoint, complete, by share', async ({ seed, size }) => {
    const shares = { sft: 0.4, rpt: 0.35, dpo: 0.25 };
    const parts = await split(rows(size), shares, { seed });
    expect(Object.values(parts).flatMap(ids).sort((a, b) => a - b)).toEqual(Array.from({ length: size }, (_, i) => i));
    for (const [name, share] of Object.entries(shares)) expect(Math.abs(parts[name as 'sft'].size - share * size)).toBeLessThan(1);
    const again = await split(rows(size), { dpo: 0.25, sft: 0.4, rpt: 0.35 }, { seed }); // the order of the names does not count
    for (const name of ['sft', 'rpt', 'dpo'] as const) expect(ids(again[name])).toEqual(ids(parts[name]));
    expect(ids((await split(rows(size), shares, { seed: seed + 1 })).sft)).not.toEqual(ids(parts.sft));
  });
  it('is the same on every machine', async () => {
    // by hand: sfc32 and Fisher–Yates are whole-number arithmetic alone
    const { a, b } = await split(rows(10), { a: 0.5, b: 0.5 }, { seed: 7 });
    expect([...ids(a), ...ids(b)].sort((x, y) => x - y)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(ids(a)).toEqual(ids((await split(rows(10), { a: 0.5, b: 0.5 }, { seed: 7 })).a));
  });
  it('keeps its numbers, with the digest of the dataset', async () => {
    const cacheDir = join(dir, 'kept');
    const { sft } = await split(rows(50), { sft: 0.4, rpt: 0.6 }, { seed: 1, cacheDir });
    const [file] = readdirSync(cacheDir);
    const saved = JSON.parse(readFileSync(join(cacheDir, file), 'utf8')) as { digest: { rows: number; sha256: string }; parts: number[][] };
    expect(saved.digest).toMatchObject({ rows: 50, sha256: expect.stringMatching(/^[0-9a-f]{64}$/) as string });
    // what is kept is what is used
    [saved.parts[1][0], saved.parts[0][0]] = [saved.parts[0][0], saved.parts[1][0]];
    writeFileSync(join(cacheDir, file), JSON.stringify(saved));
    expect(ids((await split(rows(50), { sft: 0.4, rpt: 0.6 }, { seed: 1, cacheDir })).sft)).toEqual(saved.parts[1]);
    // a damaged file is made again, other rows get one of their own
    writeFileSync(join(cacheDir, file), JSON.stringify({ ...saved, parts: [[0, 0], [1]] }));
    expect(ids((await split(rows(50), { sft: 0.4, rpt: 0.6 }, { seed: 1, cacheDir })).sft)).toEqual(ids(sft));
    await split(rows(51), { sft: 0.4, rpt: 0.6 }, { seed: 1, cacheDir });
    expect(readdirSync(cacheDir)).toHaveLength(2);
  });
  it('refuses what makes no sense', async () => {
    await expect(split(rows(10), { a: 0.5, b: 0.6 })).rejects.toThrow('add up to 1.1');
    await expect(split(rows(10), { a: 1.5, b: -0.5 })).rejects.toMatchObject({ code: 'bad_config' });
    await expect(split(rows(2), { a: 0.01, b: 0.99 })).rejects.toThrow('a would get none');
    await expect(split(arithmeticTask(), { a: 1 })).rejects.toThrow('has no end');
  });
});

describe('references with options', () => {
  it('are taken apart', () => {
    expect(parseDatasetRef('rows.csv#types=label:boolean,score:number;delimiter=semicolon;chat=none;split=sft:0.4,rpt:0.6;take=rpt;seed=7')).toEqual({
      source: 'rows.csv', load: { types: { label: 'boolean', score: 'number' }, delimiter: ';', chat: 'none' }, part: { shares: { sft: 0.4, rpt: 0.6 }, take: 'rpt', seed: 7 },
    });
    expect(parseDatasetRef('arithmetic:size=5')).toEqual({ source: 'arithmetic:size=5', load: {} });
    for (const [ref, message] of [['a#splt=x', 'is no option'], ['a#split=sft:0.4', '`take` is missing'], ['a#take=b', 'without `split`'], ['a#split=sft;take=sft', '`split` is "sft"'], ['a#split=a:1;take=b', '`take` is "b"'], ['a#types=x:int', 'the type of `x` is "int"'], ['a#format=xml', '`format` is "xml"'], ['a#seed=1;seed=2', 'given twice']]) {
      expect(() => parseDatasetRef(ref)).toThrow(message);
    }
  });
  it('give each stage its part', async () => {
    vi.stubEnv('ESPALIER_CACHE', join(dir, 'cache'));
    const path = join(dir, 'rows.jsonl');
    writeFileSync(path, Array.from({ length: 20 }, (_, id) => `{"id":${id}}\n`).join(''));
    const part = async (name: string) => ids(await datasetByRef(`${path}#split=sft:0.4,rpt:0.6;take=${name};seed=7`));
    const [sft, rpt] = [await part('sft'), await part('rpt')];
    expect([sft.length, rpt.length]).toEqual([8, 12]);
    expect([...sft, ...rpt].sort((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, i) => i));
    expect(readdirSync(join(dir, 'cache', 'splits'))).toHaveLength(1);
  });
});
