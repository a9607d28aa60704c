import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { EspalierError } from '@espalier/spec';
import { openSafetensors, writeSafetensors } from '@espalier/models';
import { tensor, type Variable } from '@espalier/tensor';
import { frozen, type Training } from './training';

const fileName = 'optimizer.safetensors';

/** Writes Adam's moments and the step count: `m.<parameter>` and `v.<parameter>` in fp32, `step` in the header's metadata. */
export function saveOptimizer(dir: string, training: Training): void {
  const entries = [...training.moments].flatMap(([name, { m, v }]) => [
    { name: `m.${name}`, shape: m.shape, data: () => m.dataSync() as Float32Array },
    { name: `v.${name}`, shape: v.shape, data: () => v.dataSync() as Float32Array },
  ]);
  writeSafetensors(join(dir, fileName), entries, { metadata: { format: 'espalier-adamw', step: String(training.step) } });
}

/** An optimiser state on disk that fits the parameters. */
export interface StoredOptimizer {
  /** Replaces the state of the optimiser. */
  restore(training: Training): void;
  close(): void;
}

/**
 * Opens what {@link saveOptimizer} wrote and checks it, before anything is changed. A folder without the file starts the optimiser afresh.
 * @throws EspalierError `bad_checkpoint` when the file does not belong to these parameters
 */
export function openOptimizer(dir: string, trainable: ReadonlyMap<string, Variable>): StoredOptimizer {
  const path = join(dir, fileName);
  if (!existsSync(path)) return { restore: (training) => training.resetOptimizer(), close: () => undefined };
  const file = openSafetensors(path);
  try {
    const step = Number(file.metadata.step);
    if (!Number.isSafeInteger(step) || step < 0) throw new EspalierError('bad_checkpoint', `${path}: its metadata gives ${JSON.stringify(file.metadata.step)} as the step`);
    const names = step === 0 ? [] : [...trainable.keys()];
    for (const name of names)
      for (const moment of ['m', 'v']) {
        const shape = trainable.get(name)!.shape;
        const stored = file.tensors.get(`${moment}.${name}`);
        if (!stored) throw new EspalierError('bad_checkpoint', `${path} has no ${moment}.${name}`, { fix: 'it belongs to another model, or to training with another choice of parameters' });
        if (stored.shape.join() !== shape.join()) throw new EspalierError('bad_checkpoint', `${path}: ${moment}.${name} is [${stored.shape.join(', ')}], the parameter [${shape.join(', ')}]`);
      }
    return {
      restore(training) {
        training.resetOptimizer();
        const read = (name: string, shape: number[]) => frozen(tensor(file.read(name), shape, 'float32'));
        for (const name of names) {
          const { shape } = trainable.get(name)!;
          training.moments.set(name, { m: read(`m.${name}`, shape), v: read(`v.${name}`, shape) });
        }
        training.step = step;
      },
      close: () => file.close(),
    };
  } catch (error) {
    file.close();
    throw error;
  }
}
