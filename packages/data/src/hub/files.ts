import { createHash, randomBytes } from 'node:crypto';
import { closeSync, copyFileSync, fsyncSync, mkdirSync, openSync, renameSync, rmSync, symlinkSync, writeSync } from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { dirname, relative } from 'node:path';
import { EspalierError, throwIfAborted } from '@espalier/spec';

/** What the hub says of a file. */
export interface HubFile {
  readonly path: string;
  readonly size: number;
  /** Of files in large-file storage. */
  readonly sha256: string | undefined;
  readonly etag: string;
}

/** Writes a blob of the cache, checked against the size and SHA-256 that the hub lists, in full or not at all. */
export async function storeBlob(blob: Blob, path: string, expected: HubFile, options: { signal?: AbortSignal; onProgress?: (progress: { file: string; received: number; total: number }) => void }): Promise<void> {
  const temporary = `${path}.${randomBytes(4).toString('hex')}.incomplete`;
  const { path: name, size } = expected;
  try {
    mkdirSync(dirname(path), { recursive: true });
    const file = await open(temporary, 'wx');
    const hash = createHash('sha256');
    let received = 0;
    try {
      for await (const chunk of blob.stream() as unknown as AsyncIterable<Uint8Array>) {
        throwIfAborted(options.signal);
        received += chunk.length;
        if (received > size) break;
        hash.update(chunk);
        await file.writeFile(chunk);
        options.onProgress?.({ file: name, received, total: size });
      }
      await file.sync();
    } finally {
      await file.close();
    }
    if (received !== size) throw new EspalierError('network', `${name} came with ${received > size ? 'more than ' : ''}${Math.min(received, size)} of ${size} bytes`, { fix: 'try again' });
    if (expected.sha256 !== undefined && hash.digest('hex') !== expected.sha256) throw new EspalierError('network', `${name} came with another SHA-256 than the hub lists`, { fix: 'try again' });
    await rename(temporary, path);
  } catch (error) {
    throw writeError(error, path);
  } finally {
    rmSync(temporary, { force: true });
  }
}

/** A full disk or a forbidden folder as what it is; anything else as it came. */
function writeError(error: unknown, path: string): unknown {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'ENOSPC' || code === 'EDQUOT') return new EspalierError('no_space', `no space left while writing ${path}`, { fix: 'free some space or choose another folder; what was there before is untouched', cause: error });
  if (code === 'EACCES' || code === 'EROFS') return new EspalierError('io', `writing ${path} failed: ${(error as Error).message}`, { cause: error });
  return error;
}

/** Snapshots hold relative links to blobs, as Python's cache does; where links are forbidden, copies. */
export function linkBlob(blob: string, target: string): void {
  mkdirSync(dirname(target), { recursive: true });
  try {
    symlinkSync(relative(dirname(target), blob), target);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return;
    copyFileSync(blob, target);
  }
}

/** Writes a small file beside its place, flushes and renames it. */
export function writeSmallFile(path: string, text: string): void {
  const temporary = `${path}.${randomBytes(4).toString('hex')}.tmp`;
  try {
    mkdirSync(dirname(path), { recursive: true });
    const descriptor = openSync(temporary, 'wx', 0o644);
    try {
      for (let bytes = Buffer.from(text); bytes.length > 0; ) bytes = bytes.subarray(writeSync(descriptor, bytes));
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
    renameSync(temporary, path);
  } catch (error) {
    throw writeError(error, path);
  } finally {
    rmSync(temporary, { force: true });
  }
}
