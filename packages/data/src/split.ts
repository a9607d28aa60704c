import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { EspalierError } from '@espalier/spec';
import { subset, type Dataset } from './dataset';
import { datasetDigest } from './digest';
import { writeSmallFile } from './hub/files';
import { Random } from './random';

export interface SplitOptions {
  seed?: number;
  /** Keeps the row numbers of each part in this folder, with the digest of the dataset that they are of. Default: nowhere; they are drawn again. */
  cacheDir?: string;
}

/** Where references (`rows.jsonl#split=…`) keep row numbers: `$ESPALIER_CACHE`, else `$XDG_CACHE_HOME/espalier`, else ~/.cache/espalier; in `splits`. */
export const splitCacheFolder = (env: NodeJS.ProcessEnv = process.env): string => join(env.ESPALIER_CACHE || join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'espalier'), 'splits');

/**
 * Divides one dataset among stages: every row is in one part, in none twice. The rows of a part depend on the dataset's rows, the shares by name (in whatever
 * order) and the seed alone: they are the same on every machine, and in every stage that says the same.
 *
 * @param shares of the rows that each part gets; they add up to 1. Sizes are rounded by largest remainder
 * @throws EspalierError `bad_config` for shares that make no sense, a part that would be empty, or a dataset without end; `io`, `no_space` for the cache
 * @example
 * const { sft, rpt } = await split(await loadRows('rows.jsonl'), { sft: 0.4, rpt: 0.6 }, { seed: 7, cacheDir: 'runs/splits' });
 */
export async function split<Name extends string>(dataset: Dataset, shares: Readonly<Record<Name, number>>, options: SplitOptions = {}): Promise<Record<Name, Dataset>> {
  const names = (Object.keys(shares) as Name[]).sort((a, b) => (a < b ? -1 : 1));
  if (!Number.isFinite(dataset.size)) throw new EspalierError('bad_config', `${dataset.name} has no end and cannot be split by rows`, { fix: 'the `split` of the task, or a `size`' });
  const total = names.reduce((sum, name) => sum + shares[name], 0);
  if (names.length === 0 || names.some((name) => !(shares[name] > 0)) || Math.abs(total - 1) > 1e-6) throw new EspalierError('bad_config', `the shares ${names.map((name) => `${name}: ${shares[name]}`).join(', ')} add up to ${Number(total.toPrecision(6))}`, { fix: 'shares above 0 that add up to 1' });
  const sizes = sizesOf(dataset.size, names.map((name) => shares[name]));
  const empty = sizes.findIndex((size) => size === 0);
  if (empty >= 0) throw new EspalierError('bad_config', `of the ${dataset.size} rows of ${dataset.name}, ${names[empty]} would get none`, { fix: 'a larger share, or more rows' });
  const seed = options.seed ?? 0;
  const draw = (): number[][] => {
    const order = new Random(seed, 0x5b17).permutation(dataset.size);
    let from = 0;
    return sizes.map((size) => Array.from(order.subarray(from, (from += size))));
  };
  const parts = options.cacheDir === undefined ? draw() : await cached(options.cacheDir, dataset, { seed, shares: names.map((name) => [name, shares[name]] as const) }, sizes, draw);
  return Object.fromEntries(names.map((name, i) => [name, subset(dataset, Int32Array.from(parts[i]), `${dataset.name} (${name})`)])) as Record<Name, Dataset>;
}

/** Whole numbers that add up to `size`, by largest remainder. */
function sizesOf(size: number, shares: readonly number[]): number[] {
  const exact = shares.map((share) => share * size);
  const sizes = exact.map((value) => Math.floor(value + 1e-9));
  const order = exact.map((value, i) => [value - sizes[i], i] as const).sort((a, b) => b[0] - a[0] || a[1] - b[1]);
  for (let left = size - sizes.reduce((a, b) => a + b, 0), k = 0; left > 0; left--, k++) sizes[order[k % order.length][1]]++;
  return sizes;
}

async function cached(folder: string, dataset: Dataset, what: { seed: number; shares: readonly (readonly [string, number])[] }, sizes: readonly number[], draw: () => number[][]): Promise<number[][]> {
  const digest = await datasetDigest(dataset);
  const key = createHash('sha256').update(JSON.stringify([digest, what])).digest('hex').slice(0, 32);
  const path = join(folder, `split-${key}.json`);
  try {
    const saved = JSON.parse(readFileSync(path, 'utf8')) as { digest?: unknown; parts?: unknown };
    if (JSON.stringify(saved.digest) === JSON.stringify(digest) && isPartition(saved.parts, sizes, dataset.size)) return saved.parts;
  } catch {
    // not there yet, or damaged: drawn again
  }
  const parts = draw();
  writeSmallFile(path, `${JSON.stringify({ dataset: dataset.name, digest, ...what, parts })}\n`);
  return parts;
}

/** Every row once, in parts of these sizes. */
function isPartition(parts: unknown, sizes: readonly number[], rows: number): parts is number[][] {
  if (!Array.isArray(parts) || parts.length !== sizes.length) return false;
  const seen = new Uint8Array(rows);
  return parts.every((part: unknown, i) => Array.isArray(part) && part.length === sizes[i] && part.every((row: unknown) => Number.isInteger(row) && (row as number) >= 0 && (row as number) < rows && seen[row as number]++ === 0));
}
