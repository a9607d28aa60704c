import type { Architecture, DecoderConfig } from '../config';
import { seededNumbers } from '../seeded-numbers';
import type { WeightSource } from '../weight-source';

/**
 * A model of an architecture that is checked in seconds: two layers, grouped queries, odd sizes.
 * @example
 * tinyConfig('mistral', { slidingWindow: 3 });
 */
export function tinyConfig(architecture: Architecture, more: Partial<DecoderConfig> = {}): DecoderConfig {
  const gpt2 = architecture === 'gpt2';
  return {
    architecture, vocabSize: 29, hiddenSize: 12, intermediateSize: 20, numLayers: 2, numHeads: 4, numKvHeads: gpt2 ? 4 : 2, headDim: gpt2 ? 3 : 4, normEps: 1e-5, ropeTheta: gpt2 ? 0 : 10_000,
    tieWordEmbeddings: gpt2, attentionBias: gpt2 || architecture === 'qwen2', attentionOutputBias: gpt2, mlpBias: gpt2, qkNorm: architecture === 'qwen3', maxPositions: 48, initializerRange: 0.3, eosTokenIds: [2], ...more,
  };
}

/**
 * The weights with a little noise on each, a function of the seed: biases that are not 0 and norms that are not 1, so that leaving one out shows.
 * @example
 * createDecoder(config, withNoise(randomWeights(config, 1), 1));
 */
export function withNoise(weights: WeightSource, seed: number, spread = 0.1): WeightSource {
  return {
    tensors: weights.tensors,
    read(name, into) {
      const { normal } = seededNumbers(seed, `noise of ${name}`);
      const values = weights.read(name, into);
      for (let i = 0; i < values.length; i++) values[i] += spread * normal();
      return values;
    },
  };
}
