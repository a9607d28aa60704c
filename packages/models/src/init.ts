import type { DecoderConfig } from './config';
import { parameterSpecs } from './decoder-weights';
import type { ParameterSpec } from './decoder-weights';
import { seededNumbers } from './seeded-numbers';
import type { WeightSource } from './weight-source';

/**
 * A fresh model as transformers would start it: projections and embeddings normal with `initializerRange` (0.02), biases 0, norms 1; gpt2's projections
 * into the residual stream are smaller by `sqrt(2 numLayers)` (Radford et al. 2019). Each tensor depends on the seed and its own name alone.
 * @example
 * const decoder = createDecoder(config, randomWeights(config, 42));
 */
export function randomWeights(config: DecoderConfig, seed: number): WeightSource {
  const specs = new Map(parameterSpecs(config).map((spec) => [spec.name, spec]));
  return {
    tensors: new Map([...specs.values()].map(({ name, stored }) => [name, { name, shape: stored, dtype: 'float32' }])),
    read(name, into) {
      const spec = specs.get(name)!;
      const target = into ?? new Float32Array(spec.stored.reduce((a, b) => a * b, 1));
      return randomTensor(target, spec, config, seed);
    },
  };
}

/** The first numbers of one parameter, written into `target`. */
export function randomTensor(target: Float32Array, spec: ParameterSpec, config: DecoderConfig, seed: number): Float32Array {
  if (spec.role === 'norm') return target.fill(1);
  if (spec.role === 'bias' || spec.role === 'normBias') return target.fill(0);
  const spread = config.architecture === 'gpt2' && spec.residual ? config.initializerRange / Math.sqrt(2 * config.numLayers) : config.initializerRange;
  const { normal } = seededNumbers(seed, spec.name);
  for (let i = 0; i < target.length; i++) target[i] = spread * normal();
  return target;
}
