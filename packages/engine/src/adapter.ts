import { EspalierError } from '@espalier/spec';
import { openAdapter, peftNames, saveAdapter, scoreName, type Decoder, type FloatFormat } from '@espalier/models';
import { tensor, type Variable } from '@espalier/tensor';
import type { LoraOptions } from './protocol';

/** Every matrix of the adapters by PEFT's name, with the scalar head, which is trained whole. */
function matrices(decoder: Decoder): Map<string, Variable> {
  const all = new Map<string, Variable>();
  for (const [projection, { a, b }] of decoder.adapters) all.set(peftNames(projection).a, a).set(peftNames(projection).b, b);
  if (decoder.config.scalarHead) all.set(`base_model.model.${scoreName}`, decoder.scalarHead().weight);
  return all;
}

/** Writes the adapters as PEFT does: `adapter_config.json` and `adapter_model.safetensors`. */
export function writeAdapter(dir: string, decoder: Decoder, lora: LoraOptions, baseModel: string, dtype: FloatFormat): void {
  const all = matrices(decoder);
  const projections = [...decoder.adapters.keys()];
  const rank = decoder.adapters.get(projections[0])!.a.shape[0];
  saveAdapter(dir, {
    config: { rank, alpha: lora.alpha ?? 8, rslora: lora.rslora, targets: [...new Set(projections.map((name) => name.slice(name.lastIndexOf('.') + 1)))], baseModel, ...(decoder.config.scalarHead && { modulesToSave: ['score'] }) },
    weights: {
      tensors: new Map([...all].map(([name, { shape }]) => [name, { name, shape, dtype: 'float32' }])),
      read: (name) => Float32Array.from(all.get(name)!.dataSync()),
    },
    dtype,
  });
}

/**
 * Puts a saved adapter into the decoder's own.
 * @throws EspalierError `bad_checkpoint` when it adapts other projections or has another rank or scale, before anything is changed
 */
export function readAdapter(dir: string, decoder: Decoder): void {
  const file = openAdapter(dir);
  try {
    const all = matrices(decoder);
    const { rank, alpha, rslora } = file.config;
    const scale = rslora ? alpha / Math.sqrt(rank) : alpha / rank;
    const differing = [...decoder.adapters].find(([, adapter]) => adapter.scale !== scale);
    if (differing) throw new EspalierError('bad_checkpoint', `${dir}: the adapter's scale is ${scale} there and ${differing[1].scale} here`, { fix: 'open the engine with the rank and alpha that it was trained with' });
    for (const name of new Set([...all.keys(), ...file.tensors.keys()])) {
      const [here, there] = [all.get(name)?.shape, file.tensors.get(name)?.shape];
      if (here?.join() === there?.join()) continue;
      const text = (shape: readonly number[] | undefined) => (shape ? `[${shape.join(', ')}]` : 'absent');
      throw new EspalierError('bad_checkpoint', `${dir}: ${name} is ${text(there)} there and ${text(here)} here`, { fix: 'open the engine with the rank and targets that it was trained with' });
    }
    for (const [name, variable] of all) {
      const loaded = tensor(file.read(name), variable.shape, 'float32');
      variable.assign(loaded);
      loaded.dispose();
    }
  } finally {
    file.close();
  }
}
