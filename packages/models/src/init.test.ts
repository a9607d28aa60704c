import { describe, expect, it } from 'vitest';
import { parseConfig } from './config';
import { randomWeights } from './init';

const llama = parseConfig({ model_type: 'llama', vocab_size: 64, hidden_size: 32, intermediate_size: 48, num_hidden_layers: 2, num_attention_heads: 4, mlp_bias: true, attention_bias: true });
const gpt2 = parseConfig({ model_type: 'gpt2', vocab_size: 64, n_embd: 64, n_layer: 8, n_head: 4, n_positions: 32 });

const spread = (values: Float32Array) => Math.sqrt(values.reduce((sum, v) => sum + v * v, 0) / values.length);

describe('random weights', () => {
  it('are normal, with norms of one and biases of zero', () => {
    const source = randomWeights(llama, 5);
    const table = source.read('model.embed_tokens.weight');
    expect(spread(table)).toBeGreaterThan(0.019);
    expect(spread(table)).toBeLessThan(0.021);
    expect(Math.abs(table.reduce((a, b) => a + b) / table.length)).toBeLessThan(0.002);
    const within = table.filter((v) => Math.abs(v) < 0.02).length / table.length;
    expect(Math.abs(within - 0.6827)).toBeLessThan(0.04);
    expect(new Set(source.read('model.norm.weight'))).toEqual(new Set([1]));
    expect(new Set(source.read('model.layers.1.mlp.up_proj.bias'))).toEqual(new Set([0]));
  });

  it('depend on the seed and the name, not on what was read before', () => {
    const name = 'model.layers.1.self_attn.q_proj.weight';
    const first = randomWeights(llama, 5);
    first.read('lm_head.weight');
    expect(first.read(name)).toEqual(randomWeights(llama, 5).read(name, new Float32Array(32 * 32)));
    expect(randomWeights(llama, 6).read(name)).not.toEqual(first.read(name));
    expect(first.read('model.layers.0.self_attn.q_proj.weight')).not.toEqual(first.read(name));
  });

  it("shrink gpt2's projections into the residual stream", () => {
    const source = randomWeights(gpt2, 1);
    expect(spread(source.read('transformer.h.0.mlp.c_proj.weight')) / 0.02).toBeCloseTo(0.25, 1); // 1 / sqrt(2 * 8)
    expect(spread(source.read('transformer.h.0.mlp.c_fc.weight')) / 0.02).toBeCloseTo(1, 1);
  });
});
