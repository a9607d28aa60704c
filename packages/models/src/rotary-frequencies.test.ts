import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseConfig } from './config';
import { rotaryFrequencies } from './rotary-frequencies';

/** What transformers computed: tools/fixtures/make-adapters-and-rotary.py. */
const fixture = JSON.parse(readFileSync(new URL('../fixtures/rotary.json', import.meta.url), 'utf8')) as {
  head_dim: number;
  max_position_embeddings: number;
  cases: { rope_parameters: Record<string, unknown>; inv_freq: number[]; attention_factor: number }[];
};

describe('rotary frequencies', () => {
  it.each(fixture.cases.map((c) => [`${c.rope_parameters.rope_type} ${c.rope_parameters.factor}`, c] as const))("are transformers': %s", (_name, { rope_parameters, inv_freq, attention_factor }) => {
    const { head_dim, max_position_embeddings } = fixture;
    const base = { model_type: 'llama', vocab_size: 9, hidden_size: 128, intermediate_size: 9, num_hidden_layers: 1, num_attention_heads: 4, head_dim, max_position_embeddings };
    const { rope_theta, ...rope_scaling } = rope_parameters;
    // As transformers 5 writes it, and as 4 did.
    for (const json of [{ ...base, rope_parameters }, { ...base, rope_theta, rope_scaling }]) {
      const { invFreq, scaling } = rotaryFrequencies(parseConfig(json));
      expect(invFreq.length).toBe(inv_freq.length);
      invFreq.forEach((f, i) => expect(Math.abs(f / inv_freq[i] - 1)).toBeLessThan(1e-6));
      expect(scaling).toBeCloseTo(attention_factor, 6);
    }
  });
});
