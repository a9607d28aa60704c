import { randomBytes } from 'node:crypto';
import { link, open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { EspalierError } from './errors';

/**
 * Writes a file so that at any instant either the old or the new content is there: a sibling is written, flushed to the disk and renamed over it.
 *
 * @param options.replace false: a file that is there already stays as it is. Default true
 * @throws EspalierError `no_space` when the disk is full, `usage` when the file is there and `replace` is false, `io` for anything else that the disk says
 * @example
 * import { writeFileDurably } from '@espalier/spec/files';
 * await writeFileDurably('runs/sums/notes.json', '{}\n');
 */
export async function writeFileDurably(path: string, content: string | Uint8Array, options: { replace?: boolean } = {}): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}-${randomBytes(4).toString('hex')}.tmp`);
  try {
    const handle = await open(temporary, 'wx');
    try {
      await handle.writeFile(content);
      await handle.sync();
    } finally {
      await handle.close();
    }
    if (options.replace ?? true) await rename(temporary, path);
    else await link(temporary, path);
    await syncFolder(dirname(path));
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST' && options.replace === false) throw new EspalierError('usage', `${path} is there already`, { fix: 'choose another name, or move it away' });
    if (code === 'ENOSPC' || code === 'EDQUOT') throw new EspalierError('no_space', `no space left on the disk while writing ${path}`, { fix: 'free some and run it again; what was there before is untouched', cause: error });
    throw new EspalierError('io', `cannot write ${path}: ${message}`, { cause: error });
  } finally {
    await rm(temporary, { force: true }).catch(() => undefined);
  }
}

/** Flushes a folder's own entries (names) to the disk. Systems that cannot open a folder (Windows) skip it. */
export async function syncFolder(dir: string): Promise<void> {
  let handle;
  try {
    handle = await open(dir, 'r');
  } catch (error) {
    if (['EISDIR', 'EPERM', 'EACCES'].includes((error as NodeJS.ErrnoException).code ?? '')) return;
    throw error;
  }
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
