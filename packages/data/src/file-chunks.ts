import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createGunzip } from 'node:zlib';
import { EspalierError, isEspalierError, throwIfAborted } from '@espalier/spec';
import { decodeLine, readError } from './line-reader';

/** A row of more bytes is refused. */
export const maxRowBytes = 2 ** 26;

/** The bytes of a file, a piece at a time; those of a `.gz` file uncompressed. @throws EspalierError `not_found`, `io`, `bad_data` for a folder or a damaged `.gz` file */
export async function* readChunks(path: string): AsyncGenerator<Buffer> {
  const info = await stat(path).catch((error: unknown) => Promise.reject(readError(path, error)));
  if (!info.isFile()) throw new EspalierError('bad_data', `${path} is not a file`, { fix: 'a file of rows, such as rows.jsonl' });
  const file = createReadStream(path, { highWaterMark: 1 << 18 });
  let failure: Error | undefined;
  const source = path.toLowerCase().endsWith('.gz') ? file.pipe(createGunzip()) : file;
  file.on('error', (error) => {
    failure = error;
    source.destroy(error);
  });
  try {
    for await (const chunk of source) yield chunk as Buffer;
  } catch (error) {
    if (isEspalierError(error)) throw error;
    if (failure || source === file) throw readError(path, failure ?? error);
    throw new EspalierError('bad_data', `${path}: damaged gzip file: ${(error as Error).message}`, { fix: 'fetch or write it again', cause: error });
  } finally {
    source.destroy();
    file.destroy();
  }
}

/** The lines of a file, `.gz` or not, with their numbers from 1. @throws EspalierError as {@link readChunks}; `bad_data` for a line that is too long, or not UTF-8 */
export async function* readLines(path: string, signal?: AbortSignal): AsyncGenerator<{ text: string; line: number }> {
  let pieces: Buffer[] = [];
  let waiting = 0;
  let line = 0;
  const take = (last: Buffer): { text: string; line: number } => {
    const bytes = pieces.length === 0 ? last : Buffer.concat([...pieces, last]);
    [pieces, waiting] = [[], 0];
    line++;
    return { text: decodeLine(bytes, path, line, line === 1), line };
  };
  for await (const chunk of readChunks(path)) {
    let start = 0;
    for (let end = chunk.indexOf(0x0a); end >= 0; end = chunk.indexOf(0x0a, start)) {
      throwIfAborted(signal);
      yield take(chunk.subarray(start, end + 1));
      start = end + 1;
    }
    if (start === chunk.length) continue;
    pieces.push(Buffer.from(chunk.subarray(start)));
    waiting += chunk.length - start;
    if (waiting > maxRowBytes) throw new EspalierError('bad_data', `${path}:${line + 1}: the line has more than ${maxRowBytes} bytes`, { fix: 'one row a line' });
  }
  if (waiting > 0) yield take(Buffer.alloc(0));
}

/** All text of a file that must be read whole. @throws EspalierError as {@link readChunks}; `bad_data` beyond `limit` bytes */
export async function readWhole(path: string, limit: number): Promise<string> {
  const pieces: Buffer[] = [];
  let size = 0;
  for await (const chunk of readChunks(path)) {
    pieces.push(chunk);
    size += chunk.length;
    if (size > limit) throw new EspalierError('bad_data', `${path} has more than ${limit} bytes, and a JSON array is read whole`, { fix: 'JSON Lines, one row a line, is read a row at a time' });
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(pieces)); // leaves a byte order mark out
  } catch (cause) {
    throw new EspalierError('bad_data', `${path}: not UTF-8`, { fix: 'text in UTF-8', cause });
  }
}
