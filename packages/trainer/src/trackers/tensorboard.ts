import { mkdir, open, type FileHandle } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { defineTracker, type Tracker } from '@espalier/spec';
import { diskError } from '../durable-files';
import { fileVersionEvent, scalarsEvent, sessionStartEvent, textEvent } from './event-proto';
import { tfRecord } from './tfrecord';

/** A metric's tag, as `transformers` writes it: `eval_loss` → `eval/loss`, all else under `train/`. */
export function tensorboardTag(metric: string): string {
  return metric.startsWith('eval_') ? `eval/${metric.slice(5)}` : `train/${metric}`;
}

/**
 * Writes TensorBoard event files: `tensorboard --logdir <dir>`. Tags are those of `transformers`. A run that goes on writes another file, which
 * tells TensorBoard from which step on the older ones are superseded.
 *
 * @param options.dir default: `tensorboard` in the run's folder
 * @throws EspalierError `no_space`, `io`
 * @example
 * new SFTTrainer({ …, trackers: [tensorboardTracker()] }); // the same as reportTo: 'tensorboard'
 */
export function tensorboardTracker(options: { dir?: string } = {}): Tracker {
  let file: { handle: FileHandle; path: string } | null = null;
  let files = 0;
  const now = () => Date.now() / 1000;
  async function write(...events: readonly Buffer[]): Promise<void> {
    if (!file) return;
    try {
      await file.handle.appendFile(Buffer.concat(events.map(tfRecord)));
    } catch (error) {
      throw diskError(error, `writing ${file.path}`, 'the checkpoints are untouched');
    }
  }
  return defineTracker({
    name: 'tensorboard',
    async start(run) {
      const dir = options.dir ?? join(run.outputDir, 'tensorboard');
      const time = now();
      const path = join(dir, `events.out.tfevents.${Math.floor(time)}.${hostname()}.${process.pid}.${files++}`);
      try {
        await mkdir(dir, { recursive: true });
        file = { path, handle: await open(path, 'a') };
      } catch (error) {
        throw diskError(error, `opening ${path}`, 'nothing that was there is changed');
      }
      // A record beyond the step is of a run that was cut short: it is written again. Step 0 has none, and is evaluated at most once.
      const goesOn = run.step > 0 ? [sessionStartEvent(time, run.step + 1)] : [];
      await write(fileVersionEvent(time), ...goesOn, textEvent(time, run.step, 'config', `\`\`\`json\n${JSON.stringify(run.config, null, 2)}\n\`\`\``));
    },
    async log({ step, epoch, kind, metrics }) {
      const numbers = Object.entries(metrics).filter(([, value]) => Number.isFinite(value));
      const scalars = Object.fromEntries(numbers.map(([name, value]) => [tensorboardTag(name), value]));
      await write(scalarsEvent(now(), step, kind === 'train' ? { ...scalars, 'train/epoch': epoch } : scalars));
    },
    notice: ({ step, name, message }) => write(textEvent(now(), step, `notice/${name}`, message)),
    flush: async () => file?.handle.sync(),
    async end() {
      const handle = file?.handle;
      file = null;
      await handle?.close();
    },
  });
}
