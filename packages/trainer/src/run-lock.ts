import { readFileSync } from 'node:fs';
import { link, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { EspalierError } from '@espalier/spec';

const fileName = 'run.lock';

/** Who writes a run. `started` tells a process from a later one of the same number, where the system says (Linux). */
interface Holder {
  host: string;
  pid: number;
  started: string | null;
  token: string;
}

/** Locks held by this process, by their path. */
const held = new Map<string, string>();
let count = 0;

/**
 * Makes this process the only one that writes the run in `dir`. A lock whose process has ended is taken over.
 * @returns gives the lock back
 * @throws EspalierError `bad_config` when a run that is alive writes there
 */
export async function lockRun(dir: string): Promise<() => Promise<void>> {
  const path = join(dir, fileName);
  const mine: Holder = { host: hostname(), pid: process.pid, started: startOf(process.pid), token: `${process.pid}-${++count}` };
  for (;;) {
    if (await create(path, mine)) break;
    const found = await readFile(path, 'utf8').catch(() => null);
    if (found === null) continue; // given back in the meantime
    const holder = parse(found);
    if (holder && isAlive(holder, path)) {
      const who = holder.host === mine.host ? `process ${holder.pid}` : `process ${holder.pid} on ${holder.host}`;
      throw new EspalierError('bad_config', `the run in ${dir} is being written by ${who}`, { fix: `wait for it or stop it; if it is gone, remove ${path}` });
    }
    await removeStale(path, found);
  }
  held.set(path, mine.token);
  return async () => {
    held.delete(path);
    await rm(path, { force: true });
  };
}

/** False when the file is there already. The content comes with the name: nobody ever reads half of it. */
async function create(path: string, holder: Holder): Promise<boolean> {
  const temporary = `${path}.${holder.token}`;
  const content = `${JSON.stringify(holder)}\n`;
  try {
    await writeFile(temporary, content);
    await link(temporary, path);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') return false;
    if (code !== 'EPERM' && code !== 'ENOTSUP' && code !== 'ENOSYS') throw error;
    // A file system without hard links.
    return await writeFile(path, content, { flag: 'wx' }).then(
      () => true,
      (reason: NodeJS.ErrnoException) => {
        if (reason.code === 'EEXIST') return false;
        throw reason;
      },
    );
  } finally {
    await rm(temporary, { force: true });
  }
}

/** Removes the lock that was read, and no other that came in its place since. */
async function removeStale(path: string, content: string): Promise<void> {
  const aside = `${path}.stale-${process.pid}-${++count}`;
  try {
    await rename(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  if ((await readFile(aside, 'utf8')) !== content) await link(aside, path).catch(() => undefined);
  await rm(aside, { force: true });
}

function parse(content: string): Holder | null {
  try {
    const { host, pid, started, token } = JSON.parse(content) as Holder;
    return typeof host === 'string' && Number.isInteger(pid) ? { host, pid, started, token } : null;
  } catch {
    return null;
  }
}

function isAlive(holder: Holder, path: string): boolean {
  if (holder.host !== hostname()) return true; // cannot be known from here
  if (holder.pid === process.pid) return held.get(path) === holder.token;
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  const started = startOf(holder.pid);
  return started === null || holder.started === null || started === holder.started;
}

/** When a process started, in the kernel's clock ticks; null where that is not to be had. */
function startOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null;
  } catch {
    return null;
  }
}
