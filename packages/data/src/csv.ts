import { EspalierError, isEspalierError, throwIfAborted } from '@espalier/spec';
import type { CsvError, Info, Parser } from 'csv-parse';
import { cellReader, type ColumnType } from './csv-cells';
import { maxRowBytes, readChunks } from './file-chunks';
import { finishRow, type RowOptions } from './finish-row';
import type { Row } from './rows';

export interface ReadCsvOptions extends RowOptions {
  /** Default: a tab for `.tsv` files, else a comma. */
  delimiter?: string;
  /** What quotes a field; null: nothing does, and quotes are text. Default `"`. */
  quote?: '"' | "'" | null;
  /** Names of the columns, for a file whose first line is a row. Default: the first line names them. */
  columns?: readonly string[];
  /** What a column holds; text where nothing is said. An empty field of another type is null. */
  types?: Readonly<Record<string, ColumnType>>;
}

/** A record: its fields, where in the file it stands in bytes, and the line that it begins in. */
export interface CsvRecord {
  readonly fields: readonly string[];
  readonly offset: number;
  readonly size: number;
  readonly line: number;
  /** The line behind it. */
  readonly next: number;
}

/**
 * The rows of a CSV or TSV file, `.gz` or not, as a stream (RFC 4180; line ends of any kind, also inside of quotes; empty lines skipped; a quote inside a field
 * that does not begin with one is text).
 *
 * @throws EspalierError `bad_data` with file and line for quotes that are not closed, another number of fields than columns, a field that is not of its column's
 * type; `not_found`, `io`, `aborted`
 * @example
 * for await (const { row } of readCsv('rows.csv', { types: { label: 'boolean', score: 'number' } })) console.log(row);
 */
export async function* readCsv(path: string, options: ReadCsvOptions = {}): AsyncGenerator<{ row: Row; line: number; offset: number; size: number }> {
  let toRow: ((record: CsvRecord) => Row) | null = options.columns ? csvRows(options.columns, path, options) : null;
  for await (const record of readRecords(readChunks(path), path, options)) {
    throwIfAborted(options.signal);
    if (toRow === null) toRow = csvRows(checkColumns(record, path), path, options);
    else yield { row: toRow(record), line: record.line, offset: record.offset, size: record.size };
  }
}

/** Makes rows of records. @throws EspalierError `bad_data` with file and line */
export function csvRows(columns: readonly string[], path: string, options: ReadCsvOptions): (record: CsvRecord) => Row {
  const unknown = Object.keys(options.types ?? {}).find((name) => !columns.includes(name));
  if (unknown !== undefined) throw new EspalierError('bad_config', `${path} has no column \`${unknown}\` to give a type`, { fix: `it has ${columns.join(', ')}` });
  const readers = columns.map((name) => cellReader(options.types?.[name] ?? 'text'));
  return ({ fields, line }) => {
    if (fields.length !== columns.length) throw new EspalierError('bad_data', `${path}:${line}: ${fields.length} fields for ${columns.length} columns`, { fix: fields.length === 1 ? 'another delimiter; one field a column' : 'one field a column; quotes around a field that holds the delimiter' });
    const row: Row = {};
    columns.forEach((name, i) => {
      const value = readers[i](fields[i]);
      if (value === undefined) throw new EspalierError('bad_data', `${path}:${line}: \`${name}\`: must be ${options.types![name]}, found ${JSON.stringify(fields[i]).slice(0, 80)}`);
      row[name] = value;
    });
    return finishRow(row, { file: path, line }, options);
  };
}

/** The names in a file's first line. @throws EspalierError `bad_data` */
export function checkColumns({ fields, line }: CsvRecord, path: string): readonly string[] {
  const twice = fields.find((name, i) => fields.indexOf(name) !== i);
  if (twice !== undefined) throw new EspalierError('bad_data', `${path}:${line}: two columns are named ${JSON.stringify(twice)}`, { fix: 'names that differ; `columns` for a file whose first line is a row' });
  return fields;
}

/** The records of some bytes, counted from `start`. */
export async function* readRecords(chunks: AsyncIterable<Buffer>, path: string, options: ReadCsvOptions, start: { offset: number; line: number } = { offset: 0, line: 1 }): AsyncGenerator<CsvRecord> {
  const { parse } = await import('csv-parse'); // loaded when a file needs it
  const delimiter = options.delimiter ?? (/\.tsv(\.gz)?$/i.test(path) ? '\t' : ',');
  const quote = options.quote === undefined ? '"' : options.quote;
  const parser: Parser = parse({ bom: start.offset === 0, delimiter, quote: quote ?? false, escape: quote ?? undefined, info: true, raw: true, record_delimiter: ['\r\n', '\n', '\r'], relax_column_count: true, relax_quotes: true, skip_empty_lines: true, max_record_size: maxRowBytes });
  const feeding = feed(chunks, parser, path);
  let { offset, line } = start;
  try {
    for await (const entry of parser as AsyncIterable<{ record: string[]; raw: string; info: Info }>) {
      const { record, raw, info } = entry;
      const text = raw.replace(/^\uFEFF/, '');
      const blank = /^[\r\n]*/.exec(text)![0]; // empty lines before it
      const first = line + lineEnds(blank);
      if (quote !== null && record.some((field) => field.startsWith(quote))) checkQuotes(text.slice(blank.length), delimiter, quote, `${path}:${first}`);
      line = first + lineEnds(text.slice(blank.length));
      yield { fields: record, offset, size: start.offset + info.bytes - offset, line: first, next: line };
      offset = start.offset + info.bytes;
    }
    await feeding;
  } catch (error) {
    await feeding.catch((cause: unknown) => Promise.reject(isEspalierError(cause) ? cause : error));
    throw csvError(error, path, line);
  } finally {
    parser.destroy();
  }
}

/** Line ends of any kind. The parser's raw text of a record lacks the \n of a final \r\n. */
const lineEnds = (text: string): number => (text.match(/\r\n?|\n/g) ?? []).length;

async function feed(chunks: AsyncIterable<Buffer>, parser: Parser, path: string): Promise<void> {
  const utf8 = new TextDecoder('utf-8', { fatal: true });
  let lines = 1;
  try {
    for await (const chunk of chunks) {
      try {
        utf8.decode(chunk, { stream: true });
      } catch (cause) {
        throw new EspalierError('bad_data', `${path}:${lines} or later: not UTF-8`, { fix: 'text in UTF-8', cause });
      }
      for (let at = chunk.indexOf(0x0a); at >= 0; at = chunk.indexOf(0x0a, at + 1)) lines++;
      if (parser.destroyed) return;
      if (!parser.write(chunk)) await new Promise<void>((resolve) => {
        const go = () => {
          for (const event of ['drain', 'close', 'error']) parser.off(event, go);
          resolve();
        };
        for (const event of ['drain', 'close', 'error']) parser.on(event, go);
      });
    }
    parser.end();
  } catch (error) {
    parser.destroy(error as Error);
    throw error;
  }
}

/** A field that begins with a quote must end with one: text behind it is refused, not guessed at. */
function checkQuotes(raw: string, delimiter: string, quote: string, where: string): void {
  for (let at = 0; at < raw.length; ) {
    if (raw[at] === quote) {
      let end = at + 1;
      for (; end < raw.length; end++) {
        if (raw[end] !== quote) continue;
        if (raw[end + 1] !== quote) break;
        end++;
      }
      const next = raw.slice(end + 1);
      if (next !== '' && !next.startsWith(delimiter) && !/^[\r\n]/.test(next)) throw new EspalierError('bad_data', `${where}: text behind the closing quote of a field: ${JSON.stringify(raw.slice(at, end + 12)).slice(0, 80)}`, { fix: `quotes inside of quotes are doubled; quote=none reads them as text` });
      at = end + 1;
    }
    const after = raw.indexOf(delimiter, at);
    if (after < 0) return;
    at = after + delimiter.length;
  }
}

function csvError(error: unknown, path: string, line: number): unknown {
  if (isEspalierError(error)) return error;
  const code = (error as CsvError).code as string | undefined;
  if (code === 'CSV_QUOTE_NOT_CLOSED') return new EspalierError('bad_data', `${path}:${line}: a quote that opens in the row which begins here is never closed`, { fix: 'close it; quote=none reads quotes as text', cause: error });
  if (code === 'CSV_MAX_RECORD_SIZE') return new EspalierError('bad_data', `${path}:${line}: the row which begins here has more than ${maxRowBytes} bytes`, { fix: 'a quote may be open: close it; quote=none reads quotes as text', cause: error });
  return new EspalierError('bad_data', `${path}:${line}: ${(error as Error).message.split('\n')[0]}`, { cause: error });
}
