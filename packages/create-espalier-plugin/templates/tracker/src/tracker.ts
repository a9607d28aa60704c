import { open, readFile, rename, writeFile, type FileHandle } from 'node:fs/promises';
import { resolve } from 'node:path';
import { defineTracker, EspalierError, type Tracker } from '@espalier/spec';
import { readLines, writeLine } from './csv.js';

export interface __PascalName__Options {
  /** Relative to the run's folder. Default `metrics.csv`. */
  file?: string;
}

const header = writeLine(['step', 'epoch', 'kind', 'metric', 'value']);

/**
 * Writes a run's metrics into a CSV file that spreadsheets open: a line a number, with its step, epoch, kind (`train` or `eval`) and name. Numbers that are not
 * finite are left out. When a run goes on, what stood there of steps that are done again is dropped first.
 *
 * @throws EspalierError `bad_config`; `io` when the file cannot be written
 */
export function __camelName__Tracker(options: __PascalName__Options = {}): Tracker {
  const { file = 'metrics.csv' } = options;
  if (typeof file !== 'string' || file === '') throw new EspalierError('bad_config', `__name__: \`file\` is ${JSON.stringify(file)}`, { fix: 'the name of a file' });
  let out: FileHandle | null = null;
  const close = async () => {
    const closing = out;
    out = null;
    await closing?.close();
  };
  return defineTracker({
    name: '__name__',

    async start({ outputDir, step }) {
      await close();
      const path = resolve(outputDir, file);
      try {
        const kept = step === 0 ? [] : (await readRecorded(path)).filter(([at]) => Number(at) <= step);
        await writeFile(`${path}.tmp`, [header, ...kept.map(writeLine)].join(''));
        await rename(`${path}.tmp`, path); // whole, or not at all
        out = await open(path, 'a');
      } catch (cause) {
        throw new EspalierError('io', `__name__: ${path} cannot be written: ${(cause as Error).message}`, { cause });
      }
    },

    async log({ step, epoch, kind, metrics }) {
      const finite = Object.entries(metrics).filter(([, value]) => Number.isFinite(value));
      await out?.write(finite.map(([metric, value]) => writeLine([String(step), String(epoch), kind, metric, String(value)])).join(''));
    },

    flush: async () => out?.datasync(),
    end: close,
  });
}

/** What a run had recorded before, without the header. */
async function readRecorded(path: string): Promise<string[][]> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
  return readLines(text).slice(1);
}
