import { mkdir, open, rm, stat, truncate, type FileHandle } from 'node:fs/promises';
import { dirname, join, resolve, sep } from 'node:path';
import { EspalierError, isEspalierError } from '@espalier/spec';
import { openCheckpoints, readTrainerState, type Checkpoints } from './checkpoints';
import { writeFileDurably } from '@espalier/spec/files';
import { diskError, exists } from './durable-files';
import { lockRun } from './run-lock';
import { assertSameConfig, type Json, type TrainerState } from './trainer-state';

export interface OpenRunOptions {
  dir: string;
  /** What the run computes, as it will stand in `config.json`. */
  config: Json;
  /** `true`: from the newest complete checkpoint, if any; a path: from that one. */
  resume: boolean | string;
  overwrite?: boolean;
}

export interface RunFolder {
  dir: string;
  checkpoints: Checkpoints;
  /** Where the run goes on, when it does. */
  resumed: { path: string; state: TrainerState } | null;
  /** The checkpoint resumed from is one of this folder. */
  resumedInside: boolean;
  appendMetrics(record: Record<string, Json>): Promise<void>;
  appendSamples(records: readonly Json[]): Promise<void>;
  /** One line of `log.jsonl`: what happened when. Not part of what a resumed run repeats. */
  log(event: string, fields?: Record<string, Json>): Promise<void>;
  /** How long metrics and samples are, in bytes. */
  offsets(): TrainerState['offsets'];
  /** Flushes metrics and samples to the disk. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Opens the folder of a run: `config.json`, `metrics.jsonl`, `samples.jsonl`, `log.jsonl`, `checkpoints/`. On resume metrics and samples are cut
 * back to the checkpoint; what comes after it is computed, and written, again.
 *
 * @throws EspalierError `bad_config` when the folder holds a run and neither `resume` nor `overwrite` is asked for, or when the configuration
 * changed, or another process writes the run; `bad_checkpoint`, `not_found`, `no_space`, `io`
 */
export async function openRun(options: OpenRunOptions): Promise<RunFolder> {
  const dir = resolve(options.dir);
  const unlock = await mkdir(dir, { recursive: true }).then(
    () => lockRun(dir),
    (error: unknown) => {
      throw diskError(error, `opening the run in ${dir}`, 'nothing that was there is changed');
    },
  );
  try {
    return await openLocked(options, dir, unlock);
  } catch (error) {
    await unlock();
    throw error;
  }
}

async function openLocked(options: OpenRunOptions, dir: string, unlock: () => Promise<void>): Promise<RunFolder> {
  const path = (name: string) => join(dir, name);
  const files = ['config.json', 'metrics.jsonl', 'samples.jsonl', 'log.jsonl'];
  const holdsRun = (await Promise.all(files.slice(0, 2).map((name) => exists(path(name))))).some(Boolean);
  if (options.resume === false && holdsRun) {
    if (!options.overwrite) {
      throw new EspalierError('bad_config', `\`output_dir\` ${options.dir} holds a run already`, { fix: 'resume it with `resume_from_checkpoint` true (--resume), choose another folder, or set `overwrite_output_dir`' });
    }
    for (const name of [...files, 'report.html', 'checkpoints']) await rm(path(name), { recursive: true, force: true });
  }
  try {
    const checkpoints = await openCheckpoints(path('checkpoints'));
    const resumed = await findResume(options, dir, checkpoints);
    if (resumed) assertSameConfig(resumed.state.config, options.config, options.dir);
    await repairLinks(checkpoints, resumed);

    const inside = resumed !== null && resolve(dirname(resumed.path)) === path('checkpoints');
    const offsets = inside && resumed ? resumed.state.offsets : { metrics: 0, samples: 0 };
    const metrics = await appender(path('metrics.jsonl'), offsets.metrics);
    const samples = await appender(path('samples.jsonl'), offsets.samples);
    const log = await appender(path('log.jsonl'), null);
    await writeFileDurably(path('config.json'), `${JSON.stringify(options.config, null, 2)}\n`);
    return {
      dir,
      checkpoints,
      resumed,
      resumedInside: inside,
      appendMetrics: (record) => metrics.append([record]),
      appendSamples: (records) => samples.append(records),
      log: (event, fields = {}) => log.append([{ time: new Date().toISOString(), event, ...fields }]),
      offsets: () => ({ metrics: metrics.position(), samples: samples.position() }),
      async flush() {
        try {
          await Promise.all([metrics.flush(), samples.flush()]);
        } catch (error) {
          throw diskError(error, `flushing the metrics in ${dir}`, 'the checkpoints are untouched');
        }
      },
      async close() {
        await Promise.all([metrics.close(), samples.close(), log.close()]);
        await unlock();
      },
    };
  } catch (error) {
    throw diskError(error, `opening the run in ${dir}`, 'nothing that was there is changed');
  }
}

async function findResume(options: OpenRunOptions, dir: string, checkpoints: Checkpoints): Promise<RunFolder['resumed']> {
  if (options.resume === false) return null;
  const steps = await checkpoints.steps();
  if (typeof options.resume === 'string') {
    const path = resolve(options.resume);
    const state = await readTrainerState(path);
    const newest = steps.at(-1);
    if (path.startsWith(join(dir, 'checkpoints') + sep) && newest !== undefined && newest > state.step) {
      throw new EspalierError('bad_config', `${options.resume} is step ${state.step}, and ${options.dir} goes on to step ${newest}`, { fix: 'choose another `output_dir` to branch off, or resume the newest' });
    }
    return { path, state };
  }
  // Newest first; one whose files were tampered with is passed over when an older one is whole.
  let reason: unknown;
  for (const step of steps.reverse()) {
    const path = checkpoints.path(step);
    try {
      return { path, state: await readTrainerState(path) };
    } catch (error) {
      if (!isEspalierError(error)) throw error;
      reason ??= error;
    }
  }
  if (reason !== undefined) throw reason;
  return null;
}

/** A process may have been killed between a checkpoint's rename and its links. */
async function repairLinks(checkpoints: Checkpoints, resumed: RunFolder['resumed']): Promise<void> {
  const steps = await checkpoints.steps();
  const newest = steps.at(-1);
  if (newest !== undefined && (await checkpoints.linked('latest')) !== newest) await checkpoints.link('latest', newest);
  const best = resumed?.state.best?.step;
  if (best !== undefined && steps.includes(best) && (await checkpoints.linked('best')) !== best) await checkpoints.link('best', best);
}

interface Appender {
  append(records: readonly Json[]): Promise<void>;
  position(): number;
  flush(): Promise<void>;
  close(): Promise<void>;
}

/** A file of JSON lines to append to, first cut to `length` bytes (null: left as it is). */
async function appender(path: string, length: number | null): Promise<Appender> {
  const size = await stat(path).then(
    (s) => s.size,
    () => 0,
  );
  if (length !== null && size > length) await truncate(path, length);
  let position = length === null ? size : Math.min(size, length);
  const handle: FileHandle = await open(path, 'a');
  return {
    async append(records) {
      if (records.length === 0) return;
      const bytes = Buffer.from(records.map((record) => `${JSON.stringify(record)}\n`).join(''));
      try {
        await handle.appendFile(bytes);
      } catch (error) {
        throw diskError(error, `writing ${path}`, 'the checkpoints are untouched');
      }
      position += bytes.length;
    },
    position: () => position,
    flush: () => handle.sync(),
    close: () => handle.close(),
  };
}
