import { mkdir, readFile, readdir, readlink, rename, rm, stat, symlink } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { EspalierError } from '@espalier/spec';
import { syncFolder, writeFileDurably } from '@espalier/spec/files';
import { exists, diskError, syncTree } from './durable-files';
import type { TrainerState } from './trainer-state';

export const stateFile = 'trainer_state.json';
const complete = /^step-(\d{6,})$/;
/** Everything that a killed process may leave behind carries one of these prefixes. */
const temporary = '.writing-';
const replaced = '.replaced-';
const doomed = '.removing-';

/** `step-000050` */
export function checkpointName(step: number): string {
  return `step-${String(step).padStart(6, '0')}`;
}

export interface Checkpoints {
  /** Steps that have a complete checkpoint, ascending. */
  steps(): Promise<number[]>;
  path(step: number): string;
  /**
   * Writes a checkpoint: `write` fills a temporary folder, all of it is flushed, then it is renamed into place.
   * @throws EspalierError `no_space`, `io`: nothing that was there is changed
   */
  save(step: number, write: (dir: string) => Promise<void>, state: TrainerState): Promise<string>;
  /** The step that a link (`latest`, `best`) names. */
  linked(link: 'latest' | 'best'): Promise<number | undefined>;
  link(link: 'latest' | 'best', step: number): Promise<void>;
  /** Removes the oldest checkpoints until `limit` are left; the one that `best` names, and those of `keep`, stay besides. */
  prune(limit: number, keep?: readonly number[]): Promise<void>;
  /** Removes one checkpoint, unless a link names it. */
  remove(step: number): Promise<void>;
}

/**
 * The folder `checkpoints/` of a run. A checkpoint's folder exists under its own name only when it is complete, so a process killed at any
 * instant leaves nothing that could be taken for one. Opening finishes or removes what a killed process left.
 */
export async function openCheckpoints(dir: string): Promise<Checkpoints> {
  await mkdir(dir, { recursive: true });
  await recover(dir);

  const path = (step: number) => join(dir, checkpointName(step));
  const steps = async () =>
    (await readdir(dir, { withFileTypes: true }))
      .filter((entry) => entry.isDirectory() && complete.test(entry.name))
      .map((entry) => Number(complete.exec(entry.name)?.[1]))
      .sort((a, b) => a - b);
  const linked = async (link: 'latest' | 'best') => {
    const target = await readlink(join(dir, link)).catch(() => undefined);
    const step = target === undefined ? null : complete.exec(basename(target));
    return step ? Number(step[1]) : undefined;
  };
  const remove = async (step: number) => {
    const gone = join(dir, doomed + checkpointName(step));
    await rename(path(step), gone); // no longer a checkpoint from here on, whatever is left of it
    await rm(gone, { recursive: true, force: true });
  };

  return {
    steps,
    path,
    linked,
    async save(step, write, state) {
      const name = checkpointName(step);
      const work = join(dir, temporary + name);
      const previous = join(dir, replaced + name);
      const doing = `writing the checkpoint of step ${step} in ${dir}`;
      try {
        await rm(work, { recursive: true, force: true });
        await mkdir(work);
        await write(work);
        await writeFileDurably(join(work, stateFile), `${JSON.stringify({ ...state, files: await syncTree(work) }, null, 1)}\n`);
        await syncFolder(work);
        if (await exists(path(step))) await rename(path(step), previous);
        await rename(work, path(step));
        await syncFolder(dir);
        await rm(previous, { recursive: true, force: true });
      } catch (error) {
        await rm(work, { recursive: true, force: true }).catch(() => undefined);
        if (!(await exists(path(step))) && (await exists(previous))) await rename(previous, path(step));
        throw diskError(error, doing, 'the checkpoints before it are untouched');
      }
      return path(step);
    },
    async link(link, step) {
      const fresh = join(dir, `${temporary}link-${link}`);
      await rm(fresh, { force: true });
      await symlink(checkpointName(step), fresh, 'dir');
      await rename(fresh, join(dir, link));
      await syncFolder(dir);
    },
    async prune(limit, keep = []) {
      const best = await linked('best');
      const all = await steps();
      for (const step of all.slice(0, Math.max(0, all.length - limit)).filter((step) => step !== best && !keep.includes(step))) await remove(step);
    },
    async remove(step) {
      if ([await linked('latest'), await linked('best')].includes(step) || !(await steps()).includes(step)) return;
      await remove(step);
    },
  };
}

/** Removes unfinished writes and removals; puts back a checkpoint that was being replaced. */
async function recover(dir: string): Promise<void> {
  for (const name of await readdir(dir)) {
    if (name.startsWith(replaced)) {
      const target = join(dir, name.slice(replaced.length));
      if (!(await exists(target))) await rename(join(dir, name), target);
      else await rm(join(dir, name), { recursive: true, force: true });
    } else if (name.startsWith(temporary) || name.startsWith(doomed)) await rm(join(dir, name), { recursive: true, force: true });
  }
}

/**
 * Reads the trainer's state of a checkpoint and checks that every file it was written with is there in full.
 * @throws EspalierError `bad_checkpoint`, `not_found`
 */
export async function readTrainerState(checkpoint: string): Promise<TrainerState> {
  const file = join(checkpoint, stateFile);
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch {
    throw new EspalierError('not_found', `${checkpoint} is not a checkpoint to resume from: it has no ${stateFile}`);
  }
  let state: TrainerState & { files?: Record<string, number> };
  try {
    state = JSON.parse(text) as typeof state;
  } catch {
    throw new EspalierError('bad_checkpoint', `${file} is not valid JSON`);
  }
  if (state.version !== 1 || !Number.isInteger(state.step)) throw new EspalierError('bad_checkpoint', `${file} was written by another version of Espalier (version ${JSON.stringify(state.version)}, 1 is known)`);
  for (const [name, bytes] of Object.entries(state.files ?? {})) {
    const size = await stat(join(checkpoint, name)).then(
      (s) => s.size,
      () => -1,
    );
    if (size !== bytes) throw new EspalierError('bad_checkpoint', `${join(checkpoint, name)} ${size < 0 ? 'is missing' : `has ${size} bytes`}, ${bytes} were written`);
  }
  return state;
}
