import { causalAttention, tensor, variable } from '@espalier/tensor';
import { testBackend } from '@espalier/tensor/testing';
import { describe, expect, it } from 'vitest';
import { architectures } from '../config';
import { createDecoder, type Attend, type Decoder } from '../decoder';
import type { WeightSource } from '../weight-source';
import { architectureChecks, architectureSubject, describeArchitecture, tinyConfig } from '../testing';

const backend = testBackend();
for (const architecture of architectures) describeArchitecture(architecture, { config: tinyConfig(architecture), backend });
describeArchitecture('llama with rope scaling, biases and a tied head', {
  backend,
  config: tinyConfig('llama', { ropeScaling: { type: 'llama3', factor: 4, originalMaxPositions: 16, lowFreqFactor: 1, highFreqFactor: 4 }, attentionBias: true, attentionOutputBias: true, mlpBias: true, tieWordEmbeddings: true }),
});
describeArchitecture('mistral with a window', { config: tinyConfig('mistral', { slidingWindow: 3 }), backend });

/** A decoder that is wrong in one place. */
function broken(change: (decoder: Decoder) => Partial<Decoder>) {
  const config = tinyConfig('llama');
  return architectureSubject({
    config,
    create: (weights: WeightSource) => {
      const decoder = createDecoder(config, weights);
      const changed = change(decoder);
      return new Proxy(decoder, {
        get(target, key) {
          if (key in changed) return Reflect.get(changed, key) as unknown;
          const value: unknown = Reflect.get(target, key);
          return typeof value === 'function' ? (value.bind(target) as unknown) : value;
        },
      });
    },
  });
}
const hidden = (change: (tokens: Int32Array, positions: Int32Array, attend: Attend) => [Int32Array, Int32Array, Attend]) => (decoder: Decoder): Partial<Decoder> => ({ hidden: (tokens, positions, attend, noise) => decoder.hidden(...change(tokens, positions, attend), noise) });
const scale = tinyConfig('llama').headDim ** -0.5;
/** One sequence after all: what is packed sees what stands before it. */
const unpacked: Attend = (_layer, q, k, v) => causalAttention(q, k, v, { offsets: Int32Array.of(0, q.shape[0]), prefixOf: Int32Array.of(-1) }, { scale });

describe('a decoder that is wrong', () => {
  it.each([
    ['gives each sequence of a batch what it gives it alone', hidden((tokens, positions) => [tokens, positions, unpacked]), /logits of sequence 1 in a batch to be .* found .* none may see another/],
    ['is causal', hidden((tokens, positions, attend) => [tokens.map((token, t) => (t === 0 ? tokens[tokens.length - 1 > 5 ? 6 : 0] : token)), positions, attend]), /logits before token 6, whatever stands there, to be .* found .* learns to copy it/],
    ['tells positions apart', hidden((tokens, positions, attend) => [tokens, positions.map(() => 0), attend]), /other logits where the tokens before stand further away; found the same/],
    ['computes a shared prefix once, with the same results', hidden((tokens, positions, attend) => [tokens, positions.map((position, t) => (t > 0 && position !== positions[t - 1] + 1 ? 0 : position)), attend]), /continuation \d of a shared prefix to be/],
    ['decodes from a cache what it computes at once', hidden((tokens, positions, attend) => [tokens, tokens.length <= 2 ? positions.map((position) => position + 1) : positions, attend]), /decoded from a cache, to be .* importance ratios would be wrong/],
    ['gives gradients that finite differences confirm', (decoder: Decoder): Partial<Decoder> => ({ trainable: new Map([...decoder.trainable, ['model.forgotten.weight', variable(tensor([1]))]]) }), /a gradient of model\.forgotten\.weight; found none\. The parameter would never be trained/],
    ['is saved and loaded to the bit', (decoder: Decoder): Partial<Decoder> => ({ weights: () => { const weights = decoder.weights(); return { tensors: weights.tensors, read: (name, into) => weights.read(name, into).map((value) => value + 1e-6) }; } }), /the tensor \S+ to be .* found/],
    ['refuses tokens outside its vocabulary', hidden((tokens, positions, attend) => [tokens.map((token) => Math.min(Math.max(token, 0), 28)), positions, attend]), /the token 29 of a vocabulary of 29 to be refused; found logits/],
  ] as const)('fails "%s"', async (check, change, message) => {
    await expect(architectureChecks[check](broken(change))).rejects.toThrow(message);
  });

  it('fails where a gradient is another', async () => {
    // frozen on the tape: what flows through the lowest layer is missing from the embedding's gradient, for the head is tied to it
    const config = tinyConfig('llama', { tieWordEmbeddings: true });
    const create = (weights: WeightSource) => Object.assign(createDecoder(config, weights), { frozenLayers: 1 });
    await expect(architectureChecks['gives gradients that finite differences confirm'](architectureSubject({ config, create }))).rejects.toThrow(/gradient of model\.layers\.0\.\S+; found none|d loss \/ d \S+ to be about/);
  });
});
