import { randomBytes } from 'node:crypto';
import { closeSync, fstatSync, fsyncSync, mkdirSync, openSync, readFileSync, readSync, renameSync, rmSync, statSync, writeSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { EspalierError, isEspalierError } from '@espalier/spec';

/** One positioned read moves at most this many bytes: memory stays flat whatever the file claims. */
export const chunkBytes = 4 * 1024 * 1024;

/** A system error as an {@link EspalierError}: `not_found`, `no_space` or `io`, with the path in its message. */
export function fileError(error: unknown, doing: string, path: string): EspalierError {
  if (isEspalierError(error)) return error as EspalierError;
  const code = (error as NodeJS.ErrnoException | null)?.code;
  if (code === 'ENOENT' || code === 'ENOTDIR') return new EspalierError('not_found', `${path} does not exist`, { cause: error });
  if (code === 'ENOSPC' || code === 'EDQUOT') return new EspalierError('no_space', `no space left while ${doing} ${path}`, { fix: 'free some space or choose another folder; what was there before is untouched', cause: error });
  return new EspalierError('io', `${doing} ${path} failed: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
}

/** Whether a path is a regular file, a folder, something else (a pipe, a device), or not there. */
export function pathKind(path: string): 'file' | 'folder' | 'other' | 'absent' {
  try {
    const stat = statSync(path);
    return stat.isFile() ? 'file' : stat.isDirectory() ? 'folder' : 'other';
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ENOTDIR') return 'absent';
    throw fileError(error, 'looking at', path);
  }
}

/**
 * A regular file opened for positioned reads. It stays the file that was opened, even when another is renamed over it.
 * Reading past the end is `bad_checkpoint`: every length that comes from a file is untrusted.
 */
export class RangedFile {
  readonly path: string;
  readonly size: number;
  private descriptor: number | null;

  constructor(path: string) {
    const kind = pathKind(path);
    if (kind === 'absent') throw new EspalierError('not_found', `${path} does not exist`);
    if (kind !== 'file') throw new EspalierError('bad_checkpoint', `${path} is not a regular file`);
    this.path = path;
    try {
      this.descriptor = openSync(path, 'r');
      this.size = fstatSync(this.descriptor).size;
    } catch (error) {
      throw fileError(error, 'opening', path);
    }
  }

  /** Fills `target` from `position`, in bounded chunks. */
  read(target: Uint8Array, position: number): void {
    if (this.descriptor === null) throw new EspalierError('closed', `${this.path} is read after its checkpoint was closed`);
    let done = 0;
    while (done < target.length) {
      let got: number;
      try {
        got = readSync(this.descriptor, target, done, Math.min(chunkBytes, target.length - done), position + done);
      } catch (error) {
        throw fileError(error, 'reading', this.path);
      }
      if (got === 0) throw new EspalierError('bad_checkpoint', `${this.path} ends at byte ${position + done}, in the middle of what it should hold`, { fix: 'fetch or copy it again' });
      done += got;
    }
  }

  close(): void {
    if (this.descriptor !== null) closeSync(this.descriptor);
    this.descriptor = null;
  }
}

/** Reads and parses a JSON file of at most `maxBytes`; its root must be an object. Anything else is `bad_checkpoint`. */
export function readJsonObject(path: string, maxBytes: number): Record<string, unknown> {
  const text = readText(path, maxBytes);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new EspalierError('bad_checkpoint', `${path} is not valid JSON: ${(error as Error).message}`, { cause: error });
  }
  if (!isRecord(value)) throw new EspalierError('bad_checkpoint', `${path} should hold a JSON object`);
  return value;
}

/** Reads a UTF-8 file of at most `maxBytes`. */
export function readText(path: string, maxBytes: number): string {
  const kind = pathKind(path);
  if (kind === 'absent') throw new EspalierError('not_found', `${path} does not exist`);
  if (kind !== 'file') throw new EspalierError('bad_checkpoint', `${path} is not a regular file`);
  const { size } = statSync(path);
  if (size > maxBytes) throw new EspalierError('bad_checkpoint', `${path} has ${size} bytes, more than the ${maxBytes} that such a file may have`);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(path));
  } catch (error) {
    if (error instanceof TypeError) throw new EspalierError('bad_checkpoint', `${path} is not UTF-8 text`, { cause: error });
    throw fileError(error, 'reading', path);
  }
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A file on its way: written beside its destination, flushed to the disk, and only then renamed over it. */
export class PendingFile {
  readonly path: string;
  private readonly temporary: string;
  private descriptor: number | null;

  constructor(path: string) {
    this.path = path;
    this.temporary = join(dirname(path), `.${basename(path)}.${process.pid}-${randomBytes(4).toString('hex')}.tmp`);
    try {
      mkdirSync(dirname(path), { recursive: true });
      this.descriptor = openSync(this.temporary, 'wx', 0o644);
    } catch (error) {
      throw fileError(error, 'writing', path);
    }
  }

  write(bytes: Uint8Array): void {
    let done = 0;
    try {
      while (done < bytes.length) done += writeSync(this.descriptor!, bytes, done, Math.min(chunkBytes, bytes.length - done));
    } catch (error) {
      this.discard();
      throw fileError(error, 'writing', this.path);
    }
  }

  /** Flushes and closes: the bytes are on the disk, the destination still as it was. */
  seal(): void {
    try {
      fsyncSync(this.descriptor!);
      closeSync(this.descriptor!);
      this.descriptor = null;
    } catch (error) {
      this.discard();
      throw fileError(error, 'writing', this.path);
    }
  }

  /** Puts the sealed file in its place. */
  commit(): void {
    if (this.descriptor !== null) this.seal();
    try {
      renameSync(this.temporary, this.path);
    } catch (error) {
      this.discard();
      throw fileError(error, 'writing', this.path);
    }
  }

  discard(): void {
    if (this.descriptor !== null) closeSync(this.descriptor);
    this.descriptor = null;
    rmSync(this.temporary, { force: true });
  }
}

/** Flushes a folder's entries, so that a rename in it survives a power cut. Where a platform cannot, nothing happens. */
export function syncFolder(path: string): void {
  try {
    const descriptor = openSync(path, 'r');
    try {
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
  } catch {
    // Windows does not open folders; the rename itself stands
  }
}

/** Writes a whole file through {@link PendingFile}. */
export function writeFileAtomically(path: string, content: string | Uint8Array): void {
  const file = new PendingFile(path);
  file.write(typeof content === 'string' ? new TextEncoder().encode(content) : content);
  file.commit();
  syncFolder(dirname(path));
}
