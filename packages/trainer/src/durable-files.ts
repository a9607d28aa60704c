import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { EspalierError, isEspalierError } from '@espalier/spec';
import { syncFolder } from '@espalier/spec/files';

/** Flushes every file and folder below `dir`, and `dir` itself; returns the size of each file by its path below `dir`. */
export async function syncTree(dir: string, prefix = ''): Promise<Record<string, number>> {
  const sizes: Record<string, number> = {};
  for (const entry of (await readdir(dir, { withFileTypes: true })).sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) Object.assign(sizes, await syncTree(path, `${prefix}${entry.name}/`));
    else if (entry.isFile()) {
      const handle = await open(path, 'r+');
      try {
        await handle.sync();
        sizes[prefix + entry.name] = (await handle.stat()).size;
      } finally {
        await handle.close();
      }
    }
  }
  await syncFolder(dir);
  return sizes;
}

export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** The system's error name (`ENOSPC` …) of an error or of what caused it. */
export function errno(error: unknown): string | undefined {
  for (let e = error, depth = 0; typeof e === 'object' && e !== null && depth < 8; e = (e as { cause?: unknown }).cause, depth++) {
    const code = (e as { code?: unknown }).code;
    if (typeof code === 'string' && /^E[A-Z0-9]+$/.test(code)) return code;
  }
  return undefined;
}

/** `error` as the Espalier error that says what failed on the disk; an Espalier error stays what it is. `doing`: "writing the checkpoint …". */
export function diskError(error: unknown, doing: string, kept: string): unknown {
  const code = errno(error);
  if (code === 'ENOSPC' || code === 'EDQUOT' || (isEspalierError(error) && error.code === 'no_space')) {
    return new EspalierError('no_space', `no space left on the disk while ${doing}; ${kept}`, { fix: 'free some space and resume, or choose another `output_dir`', cause: error });
  }
  if (isEspalierError(error) || code === undefined) return error;
  return new EspalierError('io', `${doing} failed: ${(error as Error).message}; ${kept}`, { cause: error });
}
