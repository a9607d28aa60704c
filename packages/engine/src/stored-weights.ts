import { EspalierError } from '@espalier/spec';
import { fromHf, parameterSpecs, readParameter, toHf, type Checkpoint, type Decoder, type WeightSource } from '@espalier/models';
import { addInPlace, linear, tensor, transpose } from '@espalier/tensor';
import { scoped } from './scoped';

/**
 * Puts a checkpoint's tensors into the decoder's variables, one at a time.
 * @throws EspalierError `bad_checkpoint` when it is of another shape, before anything is changed
 */
export function loadWeights(decoder: Decoder, stored: Checkpoint, where: string): void {
  const specs = parameterSpecs(decoder.config);
  const theirs = new Map(parameterSpecs(stored.config).map((spec) => [spec.name, spec]));
  for (const { name, shape } of specs) {
    const found = theirs.get(name)?.shape;
    if (found?.join() === shape.join() && theirs.size === specs.length) continue;
    throw new EspalierError('bad_checkpoint', `${where} holds another model: ${name} is ${found ? `[${found.join(', ')}] there and [${shape.join(', ')}] here` : theirs.size === specs.length ? 'not in it' : `one of ${specs.length} parameters here, there are ${theirs.size} there`}`, {
      fix: 'load what was saved from this model',
    });
  }
  for (const spec of specs) {
    const loaded = tensor(readParameter(stored, spec), [...spec.shape], 'float32');
    decoder.parameters.get(spec.name)!.assign(loaded);
    loaded.dispose();
  }
}

/** The decoder's weights with its adapters added, `W + scale · B A`, one at a time and without touching the decoder. */
export function mergedWeights(decoder: Decoder): WeightSource {
  const plain = decoder.weights();
  const specs = new Map(parameterSpecs(decoder.config).map((spec) => [spec.name, spec]));
  return {
    tensors: plain.tensors,
    read(name, into) {
      const values = plain.read(name, into);
      const adapter = decoder.adapters.get(name.replace(/\.weight$/, ''));
      const spec = specs.get(name);
      if (!adapter || !spec) return values;
      const merged = scoped(() => {
        const weight = tensor(fromHf(spec, values).slice(), [...spec.shape], 'float32'); // [out, in]
        return toHf(spec, Float32Array.from(addInPlace(weight, linear(adapter.b, transpose(adapter.a)), adapter.scale).dataSync()));
      });
      values.set(merged);
      return values;
    },
  };
}
