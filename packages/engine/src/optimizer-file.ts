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

/**
 * Reads them back. A folder without the file starts the optimiser afresh.
 * @throws EspalierError `bad_checkpoint` when the file does not belong to these parameters
 */
export function loadOptimizer(dir: string, training: Training, trainable: ReadonlyMap<string, Variable>): void {
  const path = join(dir, fileName);
  training.resetOptimizer();
  if (!existsSync(path)) return;
  const file = openSafetensors(path);
  try {
    const step = Number(file.metadata.step);
    if (!Number.isSafeInteger(step) || step < 0) throw new EspalierError('bad_checkpoint', `${path}: its metadata gives ${JSON.stringify(file.metadata.step)} as the step`);
    if (step === 0) return;
    for (const [name, param] of trainable)
      for (const moment of ['m', 'v']) {
        const stored = file.tensors.get(`${moment}.${name}`);
        if (!stored) throw new EspalierError('bad_checkpoint', `${path} has no ${moment}.${name}`, { fix: 'the checkpoint belongs to another model, or to training with another choice of parameters' });
        if (stored.shape.join() !== param.shape.join()) throw new EspalierError('bad_checkpoint', `${path}: ${moment}.${name} is [${stored.shape}], the parameter [${param.shape}]`);
      }
    const read = (name: string, param: Variable) => frozen(tensor(file.read(name), param.shape, 'float32'));
    for (const [name, param] of trainable) training.moments.set(name, { m: read(`m.${name}`, param), v: read(`v.${name}`, param) });
    training.step = step;
  } finally {
    file.close();
  }
}
