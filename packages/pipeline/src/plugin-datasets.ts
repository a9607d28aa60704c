import { existsSync } from 'node:fs';
import { datasetOf, parseDatasetRef, split, splitCacheFolder, type Dataset, type Row } from '@espalier/data';
import { EspalierError } from '@espalier/spec';
import { codeDataset } from './code-dataset';
import type { Registry } from './registry';

/** Rows beyond which an iteration is taken as one without end. */
const maxRows = 5_000_000;

/** Datasets of the packages below, under names that a plugin may take over. */
const ownDatasets: Readonly<Record<string, (options: Readonly<Record<string, unknown>>) => Dataset>> = { code: codeDataset };

/**
 * Rows of a dataset that a plugin gives, or of `code`, by its name with options (`riddles:difficulty=3,size=100`, also with `#split=…;take=…`). A dataset with rows by number
 * is taken as it is, so that it may have no end; other rows are read one after another. Files on the disk go before.
 * @returns null where there is no dataset of that name
 * @throws EspalierError `bad_config` for options that cannot be read; `bad_data` for a dataset without rows, or without end
 * @example
 * const rows = await pluginDataset('riddles:difficulty=3', registry);
 */
export async function pluginDataset(ref: string, registry: Registry | undefined, defaults: Readonly<Record<string, unknown>> = {}): Promise<Dataset | null> {
  if (existsSync(ref)) return null;
  const { source, part } = parseDatasetRef(ref);
  const [name] = source.split(':');
  const create = registry?.has('datasets', name) ? registry.lookup('datasets', name) : Object.hasOwn(ownDatasets, name) ? ownDatasets[name] : null;
  if (create === null || existsSync(source)) return null;
  const made = await create({ ...defaults, ...readOptions(source.slice(name.length + 1), ref) });
  const whole = isDataset(made) ? made : await readAll(made, name);
  return part === undefined ? whole : (await split(whole, part.shares, { seed: part.seed, cacheDir: splitCacheFolder() }))[part.take];
}

function isDataset(made: object): made is Dataset {
  return 'row' in made && typeof made.row === 'function' && 'size' in made && typeof made.size === 'number' && 'origin' in made;
}

async function readAll(rows: AsyncIterable<Row>, name: string): Promise<Dataset> {
  const read: Row[] = [];
  for await (const row of rows) if (read.push(row) > maxRows) throw new EspalierError('bad_data', `dataset "${name}" has over ${maxRows} rows`, { fix: 'rows by number (`row`, `size`, `origin`) in place of an iteration' });
  if (read.length === 0) throw new EspalierError('bad_data', `dataset "${name}" has no rows`);
  return datasetOf(read, name);
}

/** `difficulty=3,kinds=a|b`: numbers and booleans by their looks, lists with `|`. */
function readOptions(written: string, ref: string): Record<string, unknown> {
  const value = (text: string): unknown => (text === 'true' ? true : text === 'false' ? false : /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text.includes('|') ? text.split('|').map(value) : text);
  return Object.fromEntries(
    written.split(',').filter((pair) => pair.trim() !== '').map((pair) => {
      const at = pair.indexOf('=');
      if (at < 1) throw new EspalierError('bad_config', `"${pair}" in "${ref}" is no option`, { fix: 'name=value, separated by commas' });
      return [pair.slice(0, at).trim().replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()), value(pair.slice(at + 1).trim())];
    }),
  );
}
