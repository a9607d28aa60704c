import { EspalierError } from '@espalier/spec';
import { readLines } from './file-chunks';
import { finishRow, type RowOptions } from './finish-row';
import type { Row } from './rows';

/** What rows must be, and what is told about them. */
export type ReadJsonlOptions = RowOptions;

/**
 * The rows of a JSON Lines file, `.gz` or not, read as a stream: one JSON object a line, empty lines skipped.
 * @throws EspalierError `not_found` when there is no such file; `bad_data` with file and line for bad JSON or a wrong field; `aborted`; `io`
 *
 * @example
 * for await (const { row, line } of readJsonl('train.jsonl', { accepted: ['prompt_only'] })) console.log(line, row.prompt);
 */
export async function* readJsonl(path: string, options: ReadJsonlOptions = {}): AsyncGenerator<{ row: Row; line: number }> {
  for await (const { text, line } of readLines(path, options.signal)) {
    if (text.trim() !== '') yield { row: parseRow(text, path, line, options), line };
  }
}

/** A line as a row. @throws EspalierError `bad_data` with file and line */
export function parseRow(text: string, file: string, line: number, options: RowOptions): Row {
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
  return finishRow(value as Row, { file, line }, options);
}
