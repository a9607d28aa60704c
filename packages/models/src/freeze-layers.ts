import { EspalierError } from '@espalier/spec';
import type { Variable } from '@espalier/tensor';
import type { Decoder } from './decoder';
import { parameterSpecs } from './decoder-weights';

/**
 * Takes the embedding and the lowest layers out of training: no gradient is computed for them or passes through them, and nothing of their forward pass is kept.
 * A tied language-model head is the embedding, and frozen with it.
 * @returns the frozen parameters, which another decoder may share (`createDecoder`'s `shared`): the frozen trunk of a policy and its reference
 * @throws EspalierError `bad_config` for a number of layers that the model has not, or beside LoRA
 */
export function freezeLayers(decoder: Decoder, layers: number): ReadonlyMap<string, Variable> {
  const { numLayers } = decoder.config;
  if (!Number.isInteger(layers) || layers < 0 || layers > numLayers) throw new EspalierError('bad_config', `freeze.layers is ${layers}`, { fix: `a whole number from 0 (the embedding alone) to ${numLayers}` });
  if (decoder.adapters.size > 0) throw new EspalierError('bad_config', 'freeze.layers beside LoRA: the adapters are all that is trained', { fix: 'leave one of them out' });
  const frozen = new Map<string, Variable>();
  for (const { name, role } of parameterSpecs(decoder.config)) {
    const layer = /^(?:model\.layers|transformer\.h)\.(\d+)\./.exec(name)?.[1];
    if (role !== 'embedding' && !(layer !== undefined && Number(layer) < layers)) continue;
    const parameter = decoder.parameters.get(name)!;
    parameter.trainable = false;
    frozen.set(name, parameter);
  }
  decoder.frozenLayers = layers;
  return frozen;
}
