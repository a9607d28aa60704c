import { EspalierError } from '@espalier/spec';
import { checkColumns, csvRows, readRecords, type CsvRecord } from './csv';
import { readBytes } from './line-reader';
import type { Row } from './rows';
import type { Shard, ShardOptions, ShardReader } from './shards';

/** A CSV or TSV file: its first line is read when it is opened. @throws EspalierError `bad_data` */
export async function csvShard(path: string, bytes: number, options: ShardOptions): Promise<Shard> {
  let begin = { offset: 0, line: 1 };
  let columns = options.columns;
  if (!columns) {
    const header = await first(readRecords(piecesOf(path, 0), path, options));
    if (!header) throw new EspalierError('bad_data', `${path} has no rows`, { fix: 'a line with the names of the columns, then a row a line' });
    columns = checkColumns(header, path);
    begin = { offset: header.offset + header.size, line: header.next };
  }
  const toRow: (record: CsvRecord) => Row = csvRows(columns, path, options);
  return {
    path,
    bytes,
    read(from): ShardReader {
      let position = from.offset < begin.offset ? begin : from;
      const records = readRecords(piecesOf(path, position.offset), path, options, position);
      return {
        async next() {
          const { value: record, done } = await records.next();
          if (done) return null;
          position = { offset: record.offset + record.size, line: record.next };
          return { place: [record.offset, record.size, record.line], streamed: { row: toRow(record), origin: { file: path, line: record.line } } };
        },
        position: () => position,
      };
    },
    async readAt([offset, size, line]) {
      const piece = await readBytes(path, offset, size);
      const blank = /^(?:\r\n?|\n)*/.exec(piece.toString('latin1'))![0]; // empty lines before it: `line` is that of the row
      const record = await first(readRecords(once(piece), path, options, { offset, line: line - (blank.match(/\r\n?|\n/g) ?? []).length }));
      if (!record) throw new EspalierError('bad_data', `${path} has changed since this position was saved`, { fix: 'the files that the run began with' });
      return { row: toRow(record), origin: { file: path, line: record.line } };
    },
    holds: ([offset, size]) => offset + size <= bytes,
  };
}

async function* piecesOf(path: string, offset: number): AsyncGenerator<Buffer> {
  for (let at = offset; ; ) {
    const piece = await readBytes(path, at, 1 << 16);
    if (piece.length === 0) return;
    yield piece;
    at += piece.length;
  }
}

async function* once(piece: Buffer): AsyncGenerator<Buffer> {
  yield piece;
}

async function first(records: AsyncGenerator<CsvRecord>): Promise<CsvRecord | undefined> {
  for await (const record of records) return record;
  return undefined;
}
