import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseConfig } from './config';
import { configToJson } from './config-json';

const fixtures = new URL('../fixtures/', import.meta.url);
const configs = readdirSync(fixtures, { recursive: true, encoding: 'utf8' }).filter((path) => /^[^/\\]+.config\.json$/.test(path));
const read = (path: string) => JSON.parse(readFileSync(new URL(path, fixtures), 'utf8')) as Record<string, unknown>;
const llama = read('llama/config.json');

describe('config.json', () => {
  it.each(configs)('is read, and written so that it reads the same: %s', (path) => {
    const config = parseConfig(read(path));
    expect(parseConfig(JSON.parse(JSON.stringify(configToJson(config))))).toEqual(config);
  });

  it('fills in what a family leaves out', () => {
    const config = parseConfig({ model_type: 'llama', vocab_size: 9, hidden_size: 8, intermediate_size: 16, num_hidden_layers: 1, num_attention_heads: 2, eos_token_id: [3, 4] });
    expect(config).toMatchObject({ numKvHeads: 2, headDim: 4, normEps: 1e-6, ropeTheta: 10_000, tieWordEmbeddings: false, maxPositions: 2048, eosTokenIds: [3, 4] });
    expect(config.bosTokenId).toBeUndefined();
  });

  it('gives windows to the layers that have them', () => {
    const qwen2 = { ...read('qwen2/config.json'), use_sliding_window: true, sliding_window: 4, max_window_layers: 1 };
    expect(parseConfig({ ...qwen2, layer_types: undefined })).toMatchObject({ slidingWindow: 4, slidingLayers: [false, true] });
    expect(parseConfig({ ...qwen2, layer_types: ['sliding_attention', 'full_attention'] })).toMatchObject({ slidingLayers: [true, false] });
    expect(parseConfig({ ...qwen2, use_sliding_window: false }).slidingWindow).toBeUndefined();
  });

  it.each([
    ['another architecture', { model_type: 'mamba' }, 'unsupported', /"mamba".*llama, mistral/],
    ['another activation', { hidden_act: 'relu' }, 'unsupported', /hidden_act "relu"/],
    ['another rope scaling', { rope_parameters: { rope_type: 'longrope', factor: 2 } }, 'unsupported', /"longrope"/],
    ['rope scaling without its factor', { rope_parameters: { rope_type: 'linear' } }, 'bad_checkpoint', /`factor` is null/],
    ['a missing size', { vocab_size: undefined }, 'bad_checkpoint', /`vocab_size` is null/],
    ['a size that is none', { num_hidden_layers: -2 }, 'bad_checkpoint', /`num_hidden_layers` is -2/],
    ['heads that do not divide', { num_key_value_heads: 3 }, 'bad_checkpoint', /`num_key_value_heads` is 3 \(a divisor of num_attention_heads 4\)/],
    ['an odd head', { head_dim: 7 }, 'bad_checkpoint', /`head_dim` is 7/],
    ['a flag that is none', { tie_word_embeddings: 'yes' }, 'bad_checkpoint', /`tie_word_embeddings` is "yes"/],
  ])('refuses %s', (_what, change, code, message) => {
    expect(() => parseConfig({ ...llama, ...change })).toThrow(expect.objectContaining({ code, message: expect.stringMatching(message) }));
  });

  it('refuses what is no object', () => {
    for (const json of [null, 3, [], 'llama']) expect(() => parseConfig(json)).toThrow(/not a JSON object/);
  });
});
