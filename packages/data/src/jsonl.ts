import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { EspalierError, throwIfAborted } from '@espalier/spec';
import type { z } from 'zod';
import { checkRow, describeIssues, type Row, type RowType } from './rows';

export interface ReadJsonlOptions {
  /** Row types of which every row must be one; see {@link checkRow}. */
  accepted?: readonly RowType[];
  /** A schema for the rows besides. */
  schema?: z.ZodType<Row>;
  signal?: AbortSignal;
}

/**
 * The rows of a JSON Lines file, read as a stream: one JSON object a line, empty lines skipped.
 * @throws EspalierError `not_found` when there is no such file; `bad_data` with file and line for bad JSON or a wrong field; `aborted`; `io`
 *
 * @example
 * for await (const { row, line } of readJsonl('train.jsonl', { accepted: ['prompt_only'] })) console.log(line, row.prompt);
 */
export async function* readJsonl(path: string, options: ReadJsonlOptions = {}): AsyncGenerator<{ row: Row; line: number }> {
  const info = await stat(path).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT' || cause.code === 'ENOTDIR') throw new EspalierError('not_found', `there is no file ${path}`, { cause });
    throw new EspalierError('io', `${path} cannot be read: ${cause.message}`, { cause });
  });
  if (!info.isFile()) throw new EspalierError('bad_data', `${path} is not a file`, { fix: 'a JSON Lines file, one row a line' });

  const stream = createReadStream(path, { encoding: 'utf8' });
  const lines = createInterface({ input: stream, crlfDelay: Infinity });
  // readline does not pass on errors of its stream: the loop below would end as if the file had
  let failure: Error | undefined;
  stream.on('error', (error) => {
    failure = error;
    lines.close();
  });
  let line = 0;
  try {
    for await (const raw of lines) {
      throwIfAborted(options.signal);
      line++;
      const text = line === 1 ? raw.replace(/^\uFEFF/, '') : raw; // a byte order mark
      if (text.trim() === '') continue;
      yield { row: parseRow(text, path, line, options), line };
    }
    if (failure) throw new EspalierError('io', `${path} cannot be read past line ${line}: ${failure.message}`, { cause: failure });
  } finally {
    lines.close();
    stream.destroy();
  }
}

export function parseRow(text: string, file: string, line: number, options: ReadJsonlOptions): Row {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    const fix = line === 1 && text.trimStart().startsWith('[') ? 'one object a line, not an array over several' : 'one JSON object a line';
    throw new EspalierError('bad_data', `${file}:${line}: not valid JSON: ${(cause as Error).message}`, { fix, cause });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new EspalierError('bad_data', `${file}:${line}: a row must be a JSON object, this line is ${Array.isArray(value) ? 'an array' : JSON.stringify(value).slice(0, 40)}`, { fix: 'one JSON object a line' });
  }
  const row = value as Row;
  if (options.accepted) checkRow(row, options.accepted, { file, line });
  const result = options.schema?.safeParse(row);
  if (result && !result.success) throw new EspalierError('bad_data', `${file}:${line}: ${describeIssues(result.error, row)}`);
  return result ? result.data : row;
}
