import { mkdir, open, readFile, truncate } from 'node:fs/promises';
import { dirname } from 'node:path';
import { EspalierError } from '@espalier/spec';

/** What is finished of a job over rows: one JSON line a row, appended and flushed to the disk before the row counts as done. */
export interface RowLog<Entry extends { index: number }> {
  /** By row number. */
  done: Map<number, Entry>;
  /** Resolves when the entries are on the disk. */
  append(entries: readonly Entry[]): Promise<void>;
  close(): Promise<void>;
}

interface Header {
  log: string;
  fingerprint: string;
}

/**
 * Opens the log of a job, with what an earlier process finished of it. The last line of a process that was killed may be torn: it is cut off, and its row done
 * again; no whole line is touched.
 *
 * @param kind what the job is: `critique-revision` …
 * @param fingerprint of everything that decides what a row comes to
 * @throws EspalierError `bad_config` when the file is another job's, or holds rows and `resume` is false; `bad_data` for a line that is damaged; `io`
 */
export async function openRowLog<Entry extends { index: number }>(path: string, kind: string, fingerprint: string, resume: boolean): Promise<RowLog<Entry>> {
  await mkdir(dirname(path), { recursive: true });
  const bytes = await readFile(path).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return Buffer.alloc(0);
    throw new EspalierError('io', `${path} cannot be read: ${cause.message}`, { cause });
  });
  const whole = bytes.lastIndexOf(0x0a) + 1;
  const lines = bytes.subarray(0, whole).toString('utf8').split('\n').slice(0, -1);
  const done = new Map<number, Entry>();
  if (lines.length > 0) {
    const header = parseLine(lines[0], path, 1) as Partial<Header>;
    if (header.log !== kind || header.fingerprint !== fingerprint) {
      throw new EspalierError('bad_config', `${path} is the log of ${header.log === kind ? `another ${kind}: its model, constitution, rows or settings differ` : `something else (${String(header.log)})`}`, { fix: 'another `output_dir`, or what it was begun with' });
    }
    lines.slice(1).forEach((line, i) => {
      const entry = parseLine(line, path, i + 2) as Entry;
      if (!Number.isSafeInteger(entry.index) || done.has(entry.index)) throw new EspalierError('bad_data', `${path}:${i + 2}: \`index\` is ${JSON.stringify(entry.index)}, which is ${done.has(entry.index) ? 'there already' : 'no row number'}`, { fix: 'remove the line' });
      done.set(entry.index, entry);
    });
    if (!resume && done.size > 0) throw new EspalierError('bad_config', `${path} holds ${done.size} finished rows already`, { fix: 'resume, choose another `output_dir`, or set `overwrite_output_dir`' });
  }
  if (whole < bytes.length) await truncate(path, whole);
  const handle = await open(path, 'a');
  let queue: Promise<void> = Promise.resolve();
  const write = (values: readonly object[]): Promise<void> => {
    const written = queue.then(async () => {
      try {
        await handle.appendFile(values.map((value) => `${JSON.stringify(value)}\n`).join(''));
        await handle.sync();
      } catch (cause) {
        const full = ['ENOSPC', 'EDQUOT'].includes((cause as NodeJS.ErrnoException).code ?? '');
        throw new EspalierError(full ? 'no_space' : 'io', `writing ${path} failed: ${(cause as Error).message}; the rows that are finished are kept`, { ...(full ? { fix: 'free some space and resume' } : {}), cause });
      }
    });
    queue = written.catch(() => undefined);
    return written;
  };
  if (lines.length === 0) await write([{ log: kind, fingerprint } satisfies Header]);
  return {
    done,
    async append(entries) {
      if (entries.length === 0) return;
      await write(entries);
      for (const entry of entries) done.set(entry.index, entry);
    },
    async close() {
      await queue;
      await handle.close();
    },
  };
}

function parseLine(line: string, path: string, number: number): unknown {
  try {
    const value = JSON.parse(line) as unknown;
    if (typeof value === 'object' && value !== null) return value;
  } catch {
    // told below
  }
  throw new EspalierError('bad_data', `${path}:${number}: the line is damaged`, { fix: 'remove it: its row is done again' });
}
