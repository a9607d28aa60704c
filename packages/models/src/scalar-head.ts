import { EspalierError } from '@espalier/spec';
import type { DecoderConfig } from './config';
import { parameterSpecs, scoreName } from './decoder-weights';
import { randomTensor } from './init';
import type { WeightSource } from './weight-source';

/**
 * A checkpoint with a scalar head: its own `score.weight [1, D]`, or where it has none, one from the seed, normal with `initializerRange` as in transformers.
 * @throws EspalierError `bad_checkpoint` when its head has more than one label
 * @example
 * const { config, weights } = withScalarHead(checkpoint.config, checkpoint, 42);
 * const decoder = createDecoder(config, weights);
 */
export function withScalarHead(config: DecoderConfig, weights: WeightSource, seed: number): { config: DecoderConfig; weights: WeightSource } {
  const scalar: DecoderConfig = { ...config, scalarHead: true };
  const stored = weights.tensors.get(scoreName);
  if (stored) {
    if (stored.shape[0] !== 1) throw new EspalierError('bad_checkpoint', `${scoreName} has the shape [${stored.shape.join(', ')}]: ${stored.shape[0]} labels`, { fix: 'a scalar head has one label; leave this one out, and a new one starts from the seed' });
    return { config: scalar, weights };
  }
  const spec = parameterSpecs(scalar).find(({ name }) => name === scoreName)!;
  return {
    config: scalar,
    weights: {
      tensors: new Map([...weights.tensors, [scoreName, { name: scoreName, shape: spec.stored, dtype: 'float32' }]]),
      read: (name, into) => (name === scoreName ? randomTensor(into ?? new Float32Array(config.hiddenSize), spec, scalar, seed) : weights.read(name, into)),
    },
  };
}
