import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { cachedAttention, cacheWrite, gather, keep, linear, memory, record, selectBackend, slice, tensor1d, tidy, tokenOutputs, zeros } from '@espalier/tensor';
import type { SequenceLayout, Tensor } from '@espalier/tensor';
import { testBackend, testBackends } from '@espalier/tensor/testing';
import { describe, expect, it } from 'vitest';
import { attendCausally, attentionOptions } from './attend';
import type { Attend } from './attend';
import { parseConfig } from './config';
import { createDecoder } from './decoder';
import type { Decoder } from './decoder';
import { parameterSpecs, toHf } from './decoder-weights';
import { openSafetensors } from './safetensors';

const backends = await testBackends('native', 'cpu');

/** What transformers computed: tools/fixtures/make-tiny-checkpoints.py. */
interface Expected {
  inputs: number[][];
  loss: number;
  logps: number[][];
  prompt: number[];
  greedy: number[];
}

const fixtures = ['llama', 'smollm2', 'llama3-rope', 'mistral', 'qwen2', 'qwen3', 'gpt2'];

function load(fixture: string) {
  const file = (name: string) => fileURLToPath(new URL(`../fixtures/${fixture}/${name}`, import.meta.url));
  const json = (name: string): unknown => JSON.parse(readFileSync(file(name), 'utf8'));
  const config = parseConfig(json('config.json'));
  return { config, expected: json('expected.json') as Expected, source: openSafetensors(file('model.safetensors')), numbers: openSafetensors(file('expected.safetensors')) };
}

/** Sequences one after another, each with its own positions. */
function packed(sequences: readonly (readonly number[])[]) {
  const offsets = Int32Array.from([0, ...sequences.map(((total) => (s: readonly number[]) => (total += s.length))(0))]);
  return {
    tokens: Int32Array.from(sequences.flat()),
    positions: Int32Array.from(sequences.flatMap((s) => s.map((_, i) => i))),
    layout: { offsets, prefixOf: new Int32Array(sequences.length).fill(-1) } satisfies SequenceLayout,
  };
}

function logits(decoder: Decoder, { tokens, positions, layout }: ReturnType<typeof packed>): Tensor {
  return tidy(() => linear(decoder.hidden(tokens, positions, attendCausally(decoder.config, layout)), decoder.lmHead().weight));
}

function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number, what: string): void {
  expect(actual.length, what).toBe(expected.length);
  let worst = 0;
  for (let i = 0; i < actual.length; i++) {
    const off = Math.abs(actual[i] - expected[i]) / Math.max(1, Math.abs(expected[i]));
    if (!(off <= worst)) worst = off;
  }
  expect(worst, what).toBeLessThanOrEqual(tolerance);
}

describe.each(backends)('a decoder on %s', (backend) => {
  it.each(fixtures)('gives the logits of transformers: %s', async (fixture) => {
    await selectBackend(backend);
    const { config, expected, source, numbers } = load(fixture);
    const decoder = createDecoder(config, source);
    const before = memory().numTensors;
    const all = logits(decoder, packed(expected.inputs));
    const wanted = expected.inputs.flatMap((_, i) => [...numbers.read(`logits.${i}`)]);
    expectClose(all.dataSync(), wanted, 1e-4, 'logits');
    all.dispose();
    expect(memory().numTensors).toBe(before);
    decoder.dispose();
  });

  it.each(fixtures)('gives the gradients of transformers: %s', async (fixture) => {
    await selectBackend(backend);
    const { config, expected, source, numbers } = load(fixture);
    const empty = memory().numTensors;
    const decoder = createDecoder(config, source);
    const before = memory().numTensors;
    const { tokens, positions, layout } = packed(expected.inputs);
    const actions = expected.inputs.flatMap((s, i) => s.slice(1).map((_, j) => layout.offsets[i] + j + 1)); // predicted tokens
    const tape = record(() => {
      const hidden = decoder.hidden(tokens, positions, attendCausally(config, layout));
      const from = gather(hidden, tensor1d(actions.map((t) => t - 1), 'int32'));
      return [tokenOutputs(from, decoder.lmHead().weight, Int32Array.from(actions, (t) => tokens[t])).logps];
    });
    expectClose(tape.outputs[0].dataSync(), expected.logps.flat(), 1e-4, 'logps');
    const specs = new Map(parameterSpecs(config).map((spec) => [spec.name, spec]));
    const names = new Map([...decoder.parameters].map(([name, parameter]) => [parameter.id, name]));
    const unseen = new Set(decoder.parameters.keys());
    const ones = tensor1d(new Float32Array(actions.length).fill(-1 / actions.length));
    tape.backward([ones], (parameter, gradient) => {
      const name = names.get(parameter.id)!;
      unseen.delete(name);
      expectClose(toHf(specs.get(name)!, gradient.dataSync<'float32'>()), numbers.read(`grad.${name}`), 1e-4, name);
      gradient.dispose();
    });
    ones.dispose();
    expect([...unseen]).toEqual([]);
    expect(memory().numTensors).toBe(before);
    decoder.dispose();
    expect(memory().numTensors).toBe(empty);
  });

  it.each(fixtures)('decodes greedily from a cache as transformers does without one: %s', async (fixture) => {
    await selectBackend(backend);
    const { config, expected, source } = load(fixture);
    const decoder = createDecoder(config, source);
    const before = memory().numTensors;
    const capacity = expected.prompt.length + expected.greedy.length;
    const cache = Array.from({ length: 2 * config.numLayers }, () => zeros([capacity, config.numKvHeads * config.headDim]));
    const write = (i: number, values: Tensor, rows: Int32Array) => {
      const old = cache[i];
      cache[i] = keep(cacheWrite(old, values, rows));
      old.dispose();
    };
    const decode = (position: number): Attend => (layer, q, k, v) => {
      write(2 * layer, k, Int32Array.of(position));
      write(2 * layer + 1, v, Int32Array.of(position));
      return cachedAttention(q, cache[2 * layer], cache[2 * layer + 1], Int32Array.of(0, 0, 0, position + 1), attentionOptions(config, layer));
    };
    const tokens = [...expected.prompt];
    for (let position = 0; position < capacity - 1; position++) {
      const next = tidy(() => linear(decoder.hidden(Int32Array.of(tokens[position]), Int32Array.of(position), decode(position)), decoder.lmHead().weight).dataSync<'float32'>().reduce((best, value, i, all) => (value > all[best] ? i : best), 0));
      if (position >= expected.prompt.length - 1) tokens.push(next);
    }
    expect(tokens.slice(expected.prompt.length)).toEqual(expected.greedy);
    for (const tensor of cache) tensor.dispose();
    expect(memory().numTensors).toBe(before);
    decoder.dispose();
  });

  it.each(['smollm2', 'mistral', 'gpt2'])('computes a shared prefix once, with the same results: %s', async (fixture) => {
    await selectBackend(backend);
    const { config, source, expected } = load(fixture);
    const decoder = createDecoder(config, source);
    const [long, middle] = expected.inputs;
    const prompt = long.slice(0, 6);
    const tails = [long.slice(6), middle];
    const apart = logits(decoder, packed(tails.map((tail) => [...prompt, ...tail])));
    const shared = packed([prompt, ...tails]);
    shared.layout.prefixOf.set([-1, 0, 0]);
    shared.positions.set([...prompt, ...tails.flat()].map((_, i) => (i < 6 ? i : 6 + ((i - 6) % tails[0].length))));
    shared.positions.set(tails[1].map((_, i) => 6 + i), 6 + tails[0].length);
    const together = logits(decoder, shared);
    const rows = (x: Tensor, start: number, n: number) => slice(x, [start, 0], [n, -1]).dataSync();
    expectClose(rows(together, 6, tails[0].length), rows(apart, 6, tails[0].length), 1e-5, 'first');
    expectClose(rows(together, 6 + tails[0].length, tails[1].length), rows(apart, long.length + 6, tails[1].length), 1e-5, 'second');
    decoder.dispose();
  });
});

describe('a decoder', () => {
  it.each(fixtures)('gives back the checkpoint that it was made of, to the bit: %s', async (fixture) => {
    await selectBackend(testBackend());
    const { config, source } = load(fixture);
    const decoder = createDecoder(config, source);
    const weights = decoder.weights();
    expect([...weights.tensors.keys()].sort()).toEqual([...source.tensors.keys()].sort());
    for (const [name, { shape }] of weights.tensors) {
      expect(shape).toEqual(source.tensors.get(name)!.shape);
      expect(weights.read(name)).toEqual(source.read(name));
    }
    decoder.dispose();
  });

  it('names what does not fit', async () => {
    await selectBackend(testBackend());
    const { config, source } = load('llama');
    expect(() => createDecoder({ ...config, numLayers: 3 }, source)).toThrow(/no tensor model\.layers\.2\./);
    expect(() => createDecoder({ ...config, vocabSize: 281 }, source)).toThrow(/embed_tokens\.weight has the shape \[280, 24\]/);
    const gpt2 = load('gpt2');
    const decoder = createDecoder(gpt2.config, gpt2.source);
    const { layout } = packed([[1]]);
    expect(() => decoder.hidden(Int32Array.of(280), Int32Array.of(0), attendCausally(gpt2.config, layout))).toThrow(/280/);
    expect(() => decoder.hidden(Int32Array.of(1), Int32Array.of(96), attendCausally(gpt2.config, layout))).toThrow(/position 96/);
    decoder.dispose();
  });
});
