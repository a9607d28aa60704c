import { open, rename, rm } from 'node:fs/promises';
import { EspalierError } from '@espalier/spec';

/**
 * Replaces a file as one step: a temporary sibling is written, flushed to the disk and renamed over it, so that what was there stays until the new
 * content is safe.
 * @throws EspalierError `no_space` when the disk is full, `io` for other failures
 */
export async function writeFileSafely(path: string, content: string): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    const file = await open(temporary, 'w');
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOSPC' || code === 'EDQUOT') throw new EspalierError('no_space', `no space left on the disk while writing ${path}`, { fix: 'free some and run it again with resume', cause: error });
    throw new EspalierError('io', `cannot write ${path}: ${(error as Error).message}`, { cause: error });
  }
}
