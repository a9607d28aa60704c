import { appendFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { defineTracker, type Notice, type TrackedMetrics, type TrackedRun, type Tracker } from '@espalier/spec';

/** A line of JSON for everything that a tracker is told. */
export function diaryTracker(options: { file?: string } = {}): Tracker {
  let path: string | null = null;
  const write = async (event: string, told: unknown) => {
    if (path !== null) await appendFile(path, `${JSON.stringify({ event, told })}\n`);
  };
  return defineTracker({
    name: 'diary',
    async start({ name, outputDir, config, totalSteps, step }: TrackedRun) {
      path = join(outputDir, options.file ?? 'diary.jsonl');
      if (step === 0) await writeFile(path, '');
      await write('start', { name, config, totalSteps, step });
    },
    log: ({ step, epoch, kind, metrics }: TrackedMetrics) => write('log', { step, epoch, kind, metrics: Object.fromEntries(Object.entries(metrics).filter(([, value]) => Number.isFinite(value))) }),
    samples: (step, samples) => write('samples', { step, count: samples.length }),
    notice: ({ name, level, message, step }: Notice) => write('notice', { name, level, message, step }),
    flush: () => write('flush', null),
    async end({ step, error }: { step: number; error?: unknown }) {
      await write('end', { step, failed: error !== undefined });
      path = null;
    },
  });
}
