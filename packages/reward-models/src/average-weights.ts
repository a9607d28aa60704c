import { openCheckpoint, saveCheckpoint, type Checkpoint, type FloatFormat, type WeightSource } from '@espalier/models';
import { EspalierError } from '@espalier/spec';

/**
 * Averages the weights of models that were trained from one start, into a new folder (WARM, 2401.12187): one model at the cost of one, with much of what an
 * ensemble gives. Configuration and tokenizer are those of the first. Tensors are read one at a time.
 *
 * @param options.weights share of each; default: alike. They are divided by their sum
 * @throws EspalierError `bad_config` for no folders or weights that do not fit, `bad_checkpoint` for models of different shapes
 *
 * @example
 * await averageWeights(['rm-1', 'rm-2', 'rm-3'], 'rm-averaged');
 */
export async function averageWeights(folders: readonly string[], into: string, options: { weights?: readonly number[]; dtype?: FloatFormat } = {}): Promise<void> {
  const weights = options.weights ?? folders.map(() => 1);
  const total = weights.reduce((a, b) => a + b, 0);
  if (folders.length === 0) throw new EspalierError('bad_config', 'there are no models to average', { fix: 'two folders or more' });
  if (weights.length !== folders.length || weights.some((w) => !Number.isFinite(w)) || total === 0) throw new EspalierError('bad_config', `the weights ${JSON.stringify(weights)} do not fit ${folders.length} models`, { fix: 'one number for each, with a sum that is not 0' });
  const opened: Checkpoint[] = [];
  try {
    for (const folder of folders) opened.push(await openCheckpoint(folder));
    const [first, ...others] = opened;
    others.forEach((other, i) => checkSame(first, other, folders[0], folders[i + 1]));
    const averaged: WeightSource = {
      tensors: first.tensors,
      read(name, destination) {
        const sum = new Float64Array(first.tensors.get(name)!.shape.reduce((a, b) => a * b, 1));
        opened.forEach((checkpoint, m) => {
          const values = checkpoint.read(name);
          for (let i = 0; i < sum.length; i++) sum[i] += (weights[m] / total) * values[i];
        });
        const result = destination ?? new Float32Array(sum.length);
        result.set(sum);
        return result;
      },
    };
    const { configJson, generationConfig } = first;
    saveCheckpoint(into, { weights: averaged, configJson, generationConfig, tokenizer: first.hasTokenizer ? first.tokenizer : undefined, dtype: options.dtype });
  } finally {
    for (const checkpoint of opened) checkpoint.close();
  }
}

function checkSame(first: Checkpoint, other: Checkpoint, firstName: string, otherName: string): void {
  for (const name of new Set([...first.tensors.keys(), ...other.tensors.keys()])) {
    const [here, there] = [first.tensors.get(name)?.shape, other.tensors.get(name)?.shape];
    const text = (shape: readonly number[] | undefined) => (shape ? `[${shape.join(', ')}]` : 'absent');
    if (here?.join() !== there?.join()) throw new EspalierError('bad_checkpoint', `${name} is ${text(here)} in ${firstName} and ${text(there)} in ${otherName}`, { fix: 'average models that were trained from one start' });
  }
}
