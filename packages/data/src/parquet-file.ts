import { open, type FileHandle } from 'node:fs/promises';
import { EspalierError, isEspalierError } from '@espalier/spec';
import type { AsyncBuffer, FileMetaData } from 'hyparquet';
import { readError } from './line-reader';
import { checkPages, checkShape } from './parquet-checks';
import { plainRow } from './parquet-values';
import type { Row } from './rows';

/** A Parquet file whose rows are read a row group at a time. */
export interface ParquetFile {
  readonly path: string;
  readonly rows: number;
  /** Bytes of the file. */
  readonly bytes: number;
  readonly columns: readonly string[];
  /** First row of each row group, and behind the last the number of rows. */
  readonly starts: readonly number[];
  /** All rows of a row group. @throws EspalierError `bad_data`, `io` */
  readGroup(group: number): Promise<Row[]>;
}

/**
 * Opens a Parquet file. Its counts, offsets and page headers are checked against the file's size before anything is allocated for them.
 *
 * Values come as plain JSON: a 64-bit integer as a number, beyond 2^53 as text of its digits; dates and times as ISO text, bytes as base64, what is missing as null.
 *
 * @throws EspalierError `not_found`, `io`, `bad_data` for what is no Parquet file, or a damaged one
 */
export async function openParquet(path: string): Promise<ParquetFile> {
  const { parquetMetadataAsync, parquetSchema } = await import('hyparquet'); // loaded when a file needs it
  return withFile(path, async (file) => {
    const metadata = await parquetMetadataAsync(file);
    const schema = parquetSchema(metadata);
    checkShape(metadata, schema, file.byteLength, path);
    const starts = [0];
    for (const group of metadata.row_groups) starts.push(starts[starts.length - 1] + Number(group.num_rows));
    return {
      path,
      rows: Number(metadata.num_rows),
      bytes: file.byteLength,
      columns: schema.children.map(({ element }) => element.name),
      starts,
      readGroup: (group) => withFile(path, (again) => readGroup(again, metadata, starts[group], starts[group + 1], group, path)),
    };
  });
}

async function readGroup(file: AsyncBuffer, metadata: FileMetaData, rowStart: number, rowEnd: number, group: number, path: string): Promise<Row[]> {
  if (rowEnd === rowStart) return [];
  const [{ parquetReadObjects }, { compressors }] = await Promise.all([import('hyparquet'), import('hyparquet-compressors')]);
  await checkPages(file, metadata, group, path);
  const iso = (unit: bigint) => (value: bigint | number) => isoTime(BigInt(value), unit);
  const rows = await parquetReadObjects({
    file,
    metadata,
    rowStart,
    rowEnd,
    compressors,
    utf8: false,
    parsers: {
      timestampFromMilliseconds: iso(1_000n),
      timestampFromMicroseconds: iso(1_000_000n),
      timestampFromNanoseconds: iso(1_000_000_000n),
      dateFromDays: (days: number) => (days === undefined || days === null ? null : new Date(days * 86_400_000).toISOString().slice(0, 10)),
    } as never,
  });
  if (rows.length !== rowEnd - rowStart) throw new EspalierError('bad_data', `${path}: row group ${group} holds ${rows.length} rows and claims ${rowEnd - rowStart}`, { fix: 'fetch or write it again' });
  return rows.map(plainRow);
}

/** A time since 1970 in ISO form, with as many digits of a second as it has. */
function isoTime(value: bigint, unit: bigint): string {
  const seconds = value >= 0n ? value / unit : -((-value + unit - 1n) / unit);
  const fraction = (value - seconds * unit).toString().padStart(unit.toString().length - 1, '0').replace(/0+$/, '');
  return `${new Date(Number(seconds) * 1000).toISOString().slice(0, 19)}${fraction ? `.${fraction}` : ''}`;
}

/** Runs with the file open; what the reader throws is an error about the file. */
async function withFile<T>(path: string, run: (file: AsyncBuffer) => Promise<T>): Promise<T> {
  let handle: FileHandle;
  try {
    handle = await open(path, 'r');
  } catch (error) {
    throw readError(path, error);
  }
  try {
    const info = await handle.stat();
    if (!info.isFile()) throw new EspalierError('bad_data', `${path} is not a file`);
    return await run(bufferOf(handle, info.size));
  } catch (error) {
    if (isEspalierError(error)) throw error;
    if (typeof (error as NodeJS.ErrnoException).syscall === 'string') throw readError(path, error);
    throw new EspalierError('bad_data', `${path}: not a Parquet file that can be read: ${(error as Error).message.split('\n')[0].slice(0, 200)}`, { fix: 'fetch or write it again', cause: error });
  } finally {
    await handle.close();
  }
}

function bufferOf(handle: FileHandle, byteLength: number): AsyncBuffer {
  return {
    byteLength,
    async slice(start, end = byteLength) {
      if (!(start >= 0 && end >= start && end <= byteLength)) throw new Error(`bytes ${start} to ${end} of a file of ${byteLength} are asked for`);
      const bytes = new Uint8Array(end - start);
      for (let done = 0; done < bytes.length; ) {
        const { bytesRead } = await handle.read(bytes, done, bytes.length - done, start + done);
        if (bytesRead === 0) throw new Error(`the file ends at byte ${start + done}`);
        done += bytesRead;
      }
      return bytes.buffer;
    },
  };
}
