import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { addInPlace, cacheWrite, emptyCache, hasDecodeBlocks, keep, matmulPrecision, memory, record, selectBackend, setMatmulPrecision, tensor, tidy } from '@espalier/tensor';
import type { Tensor } from '@espalier/tensor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { attendCached } from './attend';
import type { StepCache } from './attend';
import { parseConfig } from './config';
import { createDecoder } from './decoder';
import type { Decoder } from './decoder';
import { randomWeights } from './init';
import { addLora } from './lora';

let native = true;
try {
  await selectBackend('native');
} catch {
  native = false;
  console.warn('the backend native is not here: a step in one call is not checked');
}

const fixtures = ['llama', 'smollm2', 'llama3-rope', 'mistral', 'qwen2', 'qwen3', 'gpt2'];

function randomDecoder(fixture: string): Decoder {
  const json: unknown = JSON.parse(readFileSync(fileURLToPath(new URL(`../fixtures/${fixture}/config.json`, import.meta.url)), 'utf8'));
  const config = { ...parseConfig(json), initializerRange: 0.3 };
  return createDecoder(config, randomWeights(config, 5));
}

/** A cache of `capacity` rows that sequences of their own share: sequence `b` has the rows from `b * room` on. */
class TestCache {
  readonly layers: { k: Tensor; v: Tensor }[];
  private position = 0;

  constructor(
    { numLayers, numKvHeads, headDim }: Decoder['config'],
    private readonly batch: number,
    private readonly room: number,
  ) {
    const fresh = () => keep(emptyCache(batch * room, numKvHeads * headDim, headDim));
    this.layers = Array.from({ length: numLayers }, () => ({ k: fresh(), v: fresh() }));
  }

  /** For the next token of each sequence; from the second on, they see the first sequence's first row as a prefix. */
  next(): StepCache {
    const at = this.position++;
    const rows = Int32Array.from({ length: this.batch }, (_, b) => b * this.room + at);
    const ranges = Int32Array.from([...rows].flatMap((_, b) => (b > 0 && at > 0 ? [0, 1, b * this.room, at + 1] : [0, 0, b * this.room, at + 1])));
    const write = (layer: number, k: Tensor, v: Tensor) => {
      for (const [name, values] of [['k', k], ['v', v]] as const) {
        const old = this.layers[layer][name];
        this.layers[layer][name] = keep(cacheWrite(old, values, rows));
        old.dispose();
      }
    };
    return { rows, ranges, layer: (layer) => this.layers[layer], write };
  }

  numbers(): Float32Array[] {
    return this.layers.flatMap(({ k, v }) => [k, v].map((x) => Float32Array.from(x.dataSync())));
  }

  dispose(): void {
    for (const { k, v } of this.layers) for (const x of [k, v]) x.dispose();
  }
}

/** The hidden states of a few steps, and what is in the cache after them. */
function steps(decoder: Decoder, batch: number, step: (tokens: Int32Array, positions: Int32Array, cache: StepCache) => Tensor): Float32Array[] {
  const cache = new TestCache(decoder.config, batch, 8);
  const out: Float32Array[] = [];
  for (let at = 0; at < 6; at++) {
    const tokens = Int32Array.from({ length: batch }, (_, b) => 3 + ((b * 31 + at * 17) % 200));
    const positions = Int32Array.from({ length: batch }, (_, b) => at + (b > 0 && at > 0 ? 1 : 0));
    out.push(tidy(() => Float32Array.from(step(tokens, positions, cache.next()).dataSync())));
  }
  out.push(...cache.numbers());
  cache.dispose();
  return out;
}

const inOneCall = (decoder: Decoder, batch: number) => steps(decoder, batch, (tokens, positions, cache) => decoder.step(tokens, positions, cache));
const separately = (decoder: Decoder, batch: number) => steps(decoder, batch, (tokens, positions, cache) => decoder.hidden(tokens, positions, attendCached(decoder.config, cache)));

describe.skipIf(!native)('a step of decoding on native', () => {
  const before = matmulPrecision();
  beforeAll(() => selectBackend('native'));
  afterAll(() => setMatmulPrecision(before));

  it.each(fixtures.flatMap((fixture) => (['fp32', 'bf16'] as const).map((precision) => [fixture, precision] as const)))('is that of the separate kernels to the bit: %s, %s', (fixture, precision) => {
    setMatmulPrecision(precision);
    const decoder = randomDecoder(fixture);
    const tensors = memory().numTensors;
    for (const batch of [1, 3, 14]) {
      const together = inOneCall(decoder, batch);
      expect(together[5].every((x) => Number.isFinite(x) && x !== 0)).toBe(true);
      expect(together).toEqual(separately(decoder, batch));
    }
    expect(memory().numTensors).toBe(tensors);
    decoder.dispose();
  });

  it.each([
    ['a row for two tokens', [4, 4, -1], /two tokens are to be kept in row 4/],
    ['a row that is not there', [0, 300, 1], /kept has \d+ elements/],
    ['fewer rows than tokens', [0, 1], /2 rows of them/],
  ])('refuses to keep its outputs in %s', (_, rows, message) => {
    const decoder = randomDecoder('smollm2');
    const blocks = decoder.roomForOutputs(300)!;
    expect(() => steps(decoder, 3, (tokens, positions, cache) => decoder.step(tokens, positions, cache, { blocks, rows: Int32Array.from(rows) }))).toThrow(message);
    for (const outputs of blocks) for (const output of Object.values(outputs) as Tensor[]) output.dispose();
    decoder.dispose();
  });

  it('gives a row the same whatever the batch', () => {
    const decoder = randomDecoder('qwen3');
    const width = decoder.config.hiddenSize;
    const [alone, many] = [inOneCall(decoder, 1), inOneCall(decoder, 30)];
    for (let at = 0; at < 6; at++) expect(many[at].slice(0, width)).toEqual(alone[at]);
    decoder.dispose();
  });

  it('notices that weights have changed', () => {
    const decoder = randomDecoder('qwen2');
    const first = inOneCall(decoder, 2);
    for (const parameter of decoder.parameters.values()) {
      const changed = addInPlace(parameter, parameter, -0.25);
      parameter.assign(changed);
      changed.dispose();
    }
    const second = inOneCall(decoder, 2);
    expect(second[0]).not.toEqual(first[0]);
    expect(second).toEqual(separately(decoder, 2));
    decoder.dispose();
  });

  it('notices that variables have exchanged their data, of which none is gone', () => {
    const decoder = randomDecoder('qwen3');
    const exchange = (names: readonly string[]) => {
      const [a, b] = names.map((name) => decoder.parameters.get(name)!);
      const held = a.clone();
      a.assign(b);
      b.assign(held);
      held.dispose();
    };
    let last = inOneCall(decoder, 2);
    for (const part of ['self_attn.k_proj.weight', 'input_layernorm.weight', 'self_attn.q_norm.weight']) {
      const norm = part.endsWith('norm.weight');
      const names = [0, 1].map((layer) => `model.layers.${layer}.${part}`);
      if (norm) decoder.parameters.get(names[0])!.assign(tidy(() => addInPlace(decoder.parameters.get(names[0])!.clone(), decoder.parameters.get(names[1])!, 0.5))); // norms begin alike
      const before = norm ? inOneCall(decoder, 2) : last;
      exchange(names);
      last = inOneCall(decoder, 2);
      expect(last[5]).not.toEqual(before[5]);
      expect(last).toEqual(separately(decoder, 2));
    }
    decoder.dispose();
  });

  /** Numbers into every B, which starts at zero. */
  function train(decoder: Decoder): void {
    for (const { b } of decoder.adapters.values()) {
      const more = tensor(Float32Array.from({ length: b.size }, (_, i) => Math.sin(i + b.size)), b.shape);
      const changed = addInPlace(b, more, 0.3);
      b.assign(changed);
      for (const used of [more, changed]) used.dispose();
    }
  }

  it.each((['llama', 'qwen2', 'qwen3'] as const).flatMap((fixture) => (['fp32', 'bf16'] as const).map((precision) => [fixture, precision] as const)))('takes adapters along, to the bit: %s, %s', (fixture, precision) => {
    setMatmulPrecision(precision);
    for (const options of [{ targets: 'all-linear', rank: 5, alpha: 7 }, { rank: 16, alpha: 16 }, { targets: ['k_proj', 'up_proj', 'down_proj'], rslora: true }] as const) {
      const decoder = randomDecoder(fixture);
      addLora(decoder, options);
      train(decoder);
      const adapted = inOneCall(decoder, 3);
      expect(adapted).toEqual(separately(decoder, 3));
      train(decoder);
      const later = inOneCall(decoder, 3);
      expect(later[5]).not.toEqual(adapted[5]); // the packed matrices do not go stale
      expect(later).toEqual(separately(decoder, 3));
      const [first] = decoder.adapters.values();
      first.scale *= 3;
      const scaled = inOneCall(decoder, 3);
      expect(scaled[5]).not.toEqual(later[5]);
      expect(scaled).toEqual(separately(decoder, 3));
      const [name] = decoder.adapters.keys();
      decoder.adapters.delete(name);
      const without = inOneCall(decoder, 3);
      expect(without[5]).not.toEqual(scaled[5]);
      expect(without).toEqual(separately(decoder, 3));
      decoder.adapters.set(name, first);
      decoder.useAdapters = false;
      const plain = inOneCall(decoder, 3);
      expect(plain[5]).not.toEqual(later[5]);
      expect(plain).toEqual(separately(decoder, 3));
      decoder.dispose();
    }
  });

  it('leaves what is recorded to the separate kernels', () => {
    expect(hasDecodeBlocks()).toBe(true);
    record(() => {
      expect(hasDecodeBlocks()).toBe(false);
      return [];
    }).dispose();
  });
});

describe('a step of decoding on cpu', () => {
  it('is made of the separate kernels', async () => {
    await selectBackend('cpu');
    expect(hasDecodeBlocks()).toBe(false);
    const decoder = randomDecoder('smollm2');
    expect(inOneCall(decoder, 2)).toEqual(separately(decoder, 2));
    decoder.dispose();
  });
});
