import { randomBytes } from 'node:crypto';
import { createWriteStream, existsSync, rmSync } from 'node:fs';
import { link, open, rename } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { formatOf, type Dataset } from '@espalier/data';
import { EspalierError, throwIfAborted } from '@espalier/spec';

/** Whether rows can be written to a path. @throws EspalierError `usage` for a kind of file that is not written, or one that is there */
export function checkOutput(path: string, overwrite: boolean, endings: readonly string[] = ['.jsonl', '.json', '.jsonl.gz', '.json.gz']): void {
  if (!endings.some((ending) => path.toLowerCase().endsWith(ending))) throw new EspalierError('usage', `${path} is no kind of file that is written here`, { fix: `one of ${endings.join(', ')}` });
  if (!existsSync(dirname(path))) throw new EspalierError('not_found', `there is no folder ${dirname(path)}`);
  if (!overwrite && existsSync(path)) throw new EspalierError('usage', `${path} is there already`, { fix: 'another name, or --overwrite' });
}

/** Writes rows to a sibling, flushes it and puts it in its place; a file that came there meanwhile stays, unless `overwrite`. @throws EspalierError `usage`, `no_space`, `io`, `aborted` */
export async function writeRows(path: string, rows: Dataset | readonly unknown[], options: { overwrite: boolean; signal?: AbortSignal; /** The first row is the document. */ whole?: boolean }): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}-${randomBytes(4).toString('hex')}.tmp`);
  try {
    const text = Readable.from(options.whole ? [`${JSON.stringify((rows as readonly unknown[])[0], null, 2)}\n`] : lines(rows, formatOf(path) === 'json', options.signal));
    const file = createWriteStream(temporary, { flags: 'wx' });
    await (path.toLowerCase().endsWith('.gz') ? pipeline(text, createGzip(), file) : pipeline(text, file));
    const handle = await open(temporary, 'r+');
    await handle.sync().finally(() => handle.close());
    if (options.overwrite) await rename(temporary, path);
    else await link(temporary, path);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') throw new EspalierError('usage', `${path} is there already`, { fix: 'another name, or --overwrite' });
    if (code === 'ENOSPC' || code === 'EDQUOT') throw new EspalierError('no_space', `no space left while writing ${path}`, { cause: error });
    if (typeof code === 'string' && /^E[A-Z]+$/.test(code)) throw new EspalierError('io', `${path} cannot be written: ${message}`, { cause: error });
    throw error;
  } finally {
    rmSync(temporary, { force: true });
  }
}

function* lines(rows: Dataset | readonly unknown[], array: boolean, signal: AbortSignal | undefined): Generator<string> {
  const size = 'size' in rows ? rows.size : rows.length;
  if (array) yield '[\n';
  for (let i = 0; i < size; i++) {
    throwIfAborted(signal);
    yield `${JSON.stringify('row' in rows ? rows.row(i) : rows[i])}${array && i + 1 < size ? ',' : ''}\n`;
  }
  if (array) yield ']\n';
}
