import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { describeOrigin, formatOf, isHubDatasetRef, parseDatasetRef, type Dataset } from '@espalier/data';
import { EspalierError } from '@espalier/spec';
import { openRows } from './rows';

/** The name of the text that comes with this package: ten short pieces of English prose of different kinds, written for this project and under its licence. */
export const generalText = 'general';

export interface ReadTextsOptions {
  /** At most so many texts, the first ones. Default: all of a file, 256 of a dataset on the hub. */
  limit?: number;
}

/**
 * Texts to measure perplexity on: `general`, a file of plain text (one text), or rows with `text` (`.jsonl`, `.csv`, `.parquet`, a dataset of the hub).
 * @throws EspalierError `not_found`; `bad_data` for a file that is not UTF-8, rows without `text`, or nothing to read
 * @example
 * const { perplexity } = await perplexityOf(engine, await readTexts('general'));
 */
export async function readTexts(source: string, options: ReadTextsOptions = {}): Promise<string[]> {
  const { limit } = options;
  if (source === generalText && !existsSync(source)) return (await readPlain(new URL('../texts/general.txt', import.meta.url))).split('\n* * *\n').slice(0, limit).map((text) => text.trim());
  const { source: path } = parseDatasetRef(source);
  const onDisk = existsSync(path);
  if (onDisk && formatOf(path) === null) return [await readPlain(path)];
  if (!onDisk && !isHubDatasetRef(path)) throw new EspalierError('not_found', `there is no text ${source}`, { fix: `a text file, a file of rows or a hub dataset with \`text\`, or ${generalText}` });
  const rows = await openRows(source, { accepted: ['language_modeling'], ...(limit === undefined ? (onDisk ? {} : { limit: 256 }) : { limit }) });
  return Array.from({ length: rows.size }, (_, i) => textOf(rows, i));
}

function textOf(rows: Dataset, index: number): string {
  const { text } = rows.row(index) as { text?: unknown };
  if (typeof text !== 'string') throw new EspalierError('bad_data', `${describeOrigin(rows.origin(index))}: there is no \`text\``);
  return text;
}

async function readPlain(path: string | URL): Promise<string> {
  const bytes = await readFile(path);
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new EspalierError('bad_data', `${String(path)} is not UTF-8 text`);
  }
  if (text.trim() === '') throw new EspalierError('bad_data', `${String(path)} is empty`);
  return text;
}
