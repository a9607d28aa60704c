import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gather, linear, memory, record, selectBackend, tensor, tensor1d, tidy, tokenOutputs } from '@espalier/tensor';
import { testBackend } from '@espalier/tensor/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { attendCausally } from './attend';
import { parseConfig } from './config';
import { createDecoder } from './decoder';
import type { Decoder } from './decoder';
import { addLora, mergeLora, peftNames } from './lora';
import type { LoraOptions } from './lora';
import { openSafetensors } from './safetensors';

const path = (name: string) => fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url));

function load(name: string) {
  const config = parseConfig(JSON.parse(readFileSync(path(`${name}/config.json`), 'utf8')));
  return createDecoder(config, openSafetensors(path(`${name}/model.safetensors`)));
}

const sequence = (ids: readonly number[]) => ({
  tokens: Int32Array.from(ids),
  positions: Int32Array.from(ids.keys()),
  layout: { offsets: Int32Array.of(0, ids.length), prefixOf: Int32Array.of(-1) },
});

function logits(decoder: Decoder, ids: readonly number[]): Float32Array {
  const { tokens, positions, layout } = sequence(ids);
  return tidy(() => Float32Array.from(linear(decoder.hidden(tokens, positions, attendCausally(decoder.config, layout)), decoder.lmHead().weight).dataSync()));
}

const worst = (a: ArrayLike<number>, b: ArrayLike<number>) => Array.from(a).reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), a.length === b.length ? 0 : Infinity);

describe('LoRA', () => {
  beforeAll(async () => void (await selectBackend(testBackend())));

  // What PEFT computed: tools/fixtures/make-adapters-and-rotary.py.
  it.each(['llama', 'gpt2'])('gives the logits, gradients and merged weights of PEFT: %s', (name) => {
    const { input, ...options } = JSON.parse(readFileSync(path(`peft/${name}.json`), 'utf8')) as LoraOptions & { input: number[] };
    const expected = openSafetensors(path(`peft/${name}.safetensors`));
    const empty = memory().numTensors;
    const decoder = load(name);
    addLora(decoder, options);
    const known = [...expected.tensors.keys()].filter((key) => key.startsWith('adapter.')).map((key) => key.slice('adapter.'.length));
    expect([...decoder.adapters.keys()].flatMap((key) => Object.values(peftNames(key))).sort()).toEqual(known.sort());
    for (const [key, { a, b }] of decoder.adapters) {
      const names = peftNames(key);
      for (const [variable, values] of [[a, expected.read(`adapter.${names.a}`)], [b, expected.read(`adapter.${names.b}`)]] as const) {
        const given = tensor(values, variable.shape);
        variable.assign(given);
        given.dispose();
      }
    }
    expect(worst(logits(decoder, input), expected.read('logits'))).toBeLessThan(1e-4);

    const { tokens, positions, layout } = sequence(input);
    const names = new Map([...decoder.trainable].map(([key, variable]) => [variable.id, key]));
    const seen: string[] = [];
    const tape = record(() => {
      const hidden = gather(decoder.hidden(tokens, positions, attendCausally(decoder.config, layout)), tensor1d([...tokens.keys()].slice(0, -1), 'int32'));
      return [tokenOutputs(hidden, decoder.lmHead().weight, tokens.slice(1)).logps];
    });
    const weights = tensor1d(new Float32Array(input.length - 1).fill(-1 / (input.length - 1)));
    tape.backward([weights], (variable, gradient) => {
      const key = names.get(variable.id)!;
      seen.push(key);
      expect(worst(gradient.dataSync(), expected.read(`grad.base_model.model.${key}`))).toBeLessThan(1e-4);
      gradient.dispose();
    });
    weights.dispose();
    expect(seen.sort()).toEqual([...names.values()].sort());

    mergeLora(decoder);
    expect(decoder.adapters.size).toBe(0);
    expect(worst(logits(decoder, input), expected.read('logits'))).toBeLessThan(1e-4);
    const merged = [...expected.tensors.keys()].find((key) => key.startsWith('merged.'))!;
    expect(worst(decoder.weights().read(merged.slice('merged.'.length)), expected.read(merged))).toBeLessThan(1e-6);
    expect(decoder.trainable.size).toBe(decoder.parameters.size);
    decoder.dispose();
    expect(memory().numTensors).toBe(empty);
  });

  it('changes nothing at first, and nothing when it is switched off', () => {
    const decoder = load('smollm2');
    const ids = [5, 9, 100, 7];
    const before = logits(decoder, ids);
    expect(addLora(decoder, { targets: 'all-linear', rank: 2, seed: 3 })).toHaveLength(7 * decoder.config.numLayers);
    expect(logits(decoder, ids)).toEqual(before);
    expect([...decoder.trainable.keys()].every((name) => /\.lora_[AB]\.weight$/.test(name))).toBe(true);
    for (const { b } of decoder.adapters.values()) {
      const values = tensor(new Float32Array(b.size).fill(0.5), b.shape);
      b.assign(values);
      values.dispose();
    }
    expect(worst(logits(decoder, ids), before)).toBeGreaterThan(0.01);
    decoder.useAdapters = false;
    expect(logits(decoder, ids)).toEqual(before);
    decoder.dispose();
  });

  it("starts from its seed: A uniform in PEFT's bound, B zero", () => {
    const numbers = (seed: number) => {
      const decoder = load('llama');
      addLora(decoder, { seed });
      const [{ a, b, scale }] = [...decoder.adapters.values()];
      const result = { a: [...a.dataSync()], b: [...b.dataSync()], scale };
      decoder.dispose();
      return result;
    };
    const first = numbers(1);
    expect(numbers(1)).toEqual(first);
    expect(numbers(2).a).not.toEqual(first.a);
    const bound = 1 / Math.sqrt(24);
    expect(Math.max(...first.a.map(Math.abs))).toBeLessThanOrEqual(bound);
    expect(Math.max(...first.a.map(Math.abs))).toBeGreaterThan(0.9 * bound);
    expect(new Set(first.b)).toEqual(new Set([0]));
    expect(first.scale).toBe(1); // alpha 8 over rank 8
  });

  it('refuses what makes no sense', () => {
    const decoder = load('llama');
    expect(() => addLora(decoder, { targets: ['q_proj', 'query'] })).toThrow(/"query": no such projection .*k_proj/);
    expect(() => addLora(decoder, { rank: 0 })).toThrow(/rank is 0/);
    expect([...decoder.parameters.values()].every((parameter) => parameter.trainable)).toBe(true);
    addLora(decoder);
    expect(() => addLora(decoder)).toThrow(/already/);
    decoder.dispose();
  });
});
