import { basename } from 'node:path';
import { EspalierError, throwIfAborted } from '@espalier/spec';
import type { ReadCsvOptions } from './csv';
import { datasetOf, type Dataset } from './dataset';
import { finishRow } from './finish-row';
import { readJsonl } from './jsonl';
import type { ReadJsonOptions } from './json-array';
import type { Row, RowOrigin } from './rows';

export const fileFormats = ['jsonl', 'json', 'csv', 'tsv', 'parquet'] as const;
export type FileFormat = (typeof fileFormats)[number];

/** How a file is read, and what its rows must be. Options of other formats than the file's are not looked at. */
export interface LoadRowsOptions extends ReadCsvOptions, ReadJsonOptions {
  /** Default: by the file's extension; JSON Lines for one that is not known. */
  format?: FileFormat;
}

/** The format that a path's extension says, `.gz` behind it or not; null for one that is not known. */
export function formatOf(path: string): FileFormat | null {
  const match = /\.(jsonl|ndjson|json|csv|tsv|tab|parquet|pq)(\.gz)?$/i.exec(path);
  if (!match) return null;
  const ending = match[1].toLowerCase();
  return ending === 'ndjson' ? 'jsonl' : ending === 'tab' ? 'tsv' : ending === 'pq' ? 'parquet' : (ending as FileFormat);
}

/** A path's name without folders and extension. */
export const nameOf = (path: string): string => basename(path).replace(/\.(jsonl|ndjson|json|csv|tsv|tab|parquet|pq)?(\.gz)?$/i, '') || basename(path);

/**
 * All rows of a file: JSON Lines, a JSON array, CSV, TSV (each also as `.gz`) or Parquet, by its extension. Conversations in other formats than TRL's are
 * turned into it (see `toTrlRow`).
 *
 * @throws EspalierError `not_found`, `io`, `aborted`; `bad_data` with file and line (or row), and for a file without rows
 * @example
 * const rows = await loadRows('train.parquet', { accepted: ['prompt_completion'] });
 * console.log(rows.size, rows.row(0), rows.origin(0)); // … { file: 'train.parquet', row: 1 }
 */
export async function loadRows(path: string, options: LoadRowsOptions = {}): Promise<Dataset> {
  const rows: Row[] = [];
  const origins: RowOrigin[] = [];
  for await (const { row, origin } of rowsOfFile(path, options)) {
    rows.push(row);
    origins.push(origin);
  }
  if (rows.length === 0) throw new EspalierError('bad_data', `${path} has no rows`, { fix: formatOf(path) === 'csv' || formatOf(path) === 'tsv' ? 'a line with the names of the columns, then a row a line' : 'one JSON object a line' });
  return datasetOf(rows, nameOf(path), origins);
}

/**
 * The rows of a file of any format, one after another. Of JSON arrays the file, of Parquet a row group is in memory.
 * @throws EspalierError as {@link loadRows}; a file without rows gives none
 */
export async function* rowsOfFile(path: string, options: LoadRowsOptions = {}): AsyncGenerator<{ row: Row; origin: RowOrigin }> {
  const format = options.format ?? formatOf(path) ?? 'jsonl';
  if (format === 'parquet') {
    const { openParquet } = await import('./parquet-file');
    const file = await openParquet(path);
    for (let group = 0; group + 1 < file.starts.length; group++) {
      throwIfAborted(options.signal);
      for (const [i, row] of (await file.readGroup(group)).entries()) {
        const origin = { file: path, row: file.starts[group] + i + 1 };
        yield { row: finishRow(row, origin, options), origin };
      }
    }
  } else if (format === 'csv' || format === 'tsv') {
    const { readCsv } = await import('./csv');
    for await (const { row, line } of readCsv(path, format === 'tsv' ? { delimiter: '\t', ...options } : options)) yield { row, origin: { file: path, line } };
  } else if (format === 'json') {
    const { readJsonFile } = await import('./json-array');
    yield* await readJsonFile(path, options);
  } else {
    for await (const { row, line } of readJsonl(path, options)) yield { row, origin: { file: path, line } };
  }
}
