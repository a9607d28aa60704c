import { EspalierError } from '@espalier/spec';
import type { ReadCsvOptions } from './csv';
import type { RowOptions } from './finish-row';
import { formatOf } from './load-rows';
import type { StreamedRow } from './row-stream';
import { csvShard } from './shards-csv';
import { parquetShard } from './shards-parquet';
import { textShard } from './shards-text';

export interface ShardOptions extends Omit<RowOptions, 'signal' | 'schema'>, Pick<ReadCsvOptions, 'delimiter' | 'quote' | 'columns' | 'types'> {
  /** What a row of a text file is. Default `line`; `paragraph`: lines up to an empty one. */
  sampleBy: 'line' | 'paragraph';
  /** Column of the rows of text files. Default `text`. */
  textField: string;
  /** A longer row is refused. Default 64 MiB. */
  maxRowBytes: number;
}

/** Where a row stands in its file: an offset (in bytes; in rows for Parquet), its share of the file's bytes, its line or row from 1. */
export type Place = [offset: number, size: number, line: number];

/** Reads a file from some place on. */
export interface ShardReader {
  next(): Promise<{ place: Place; streamed: StreamedRow } | null>;
  /** Where the next row begins. */
  position(): { offset: number; line: number };
}

/** One file of a stream. */
export interface Shard {
  readonly path: string;
  readonly bytes: number;
  read(from: { offset: number; line: number }): ShardReader;
  /** The row of a saved place. */
  readAt(place: Place): Promise<StreamedRow>;
  /** Whether a saved place lies in the file. */
  holds(place: Place): boolean;
}

/** A file as a part of a stream. @throws EspalierError `bad_data`, `io`, `unsupported` for a compressed file */
export async function openShard(path: string, bytes: number, options: ShardOptions): Promise<Shard> {
  if (/\.gz$/i.test(path)) throw new EspalierError('unsupported', `${path}: a stream goes on in the middle of a file, which gzip cannot`, { fix: 'decompress it, or load it whole' });
  const format = formatOf(path);
  if (format === 'parquet') return parquetShard(path, options);
  if (format === 'csv' || format === 'tsv') return csvShard(path, bytes, options);
  return textShard(path, bytes, format !== null, options);
}
