import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { Completion, GenerateRequest } from '@espalier/spec';
import { createDecoder, parseConfig, randomWeights, type Decoder, type Tokenizer } from '@espalier/models';
import { matmulPrecision, memory, selectBackend, setMatmulPrecision } from '@espalier/tensor';
import { testBackend, testBackends } from '@espalier/tensor/testing';
import { fixture } from '../test-support';
import { Training } from '../training';
import { Decoding, type DecodingOptions } from './decoding';

/** One token, one character: 'A' is token 65. */
const tokenizer = { decode: (tokens: Int32Array) => String.fromCharCode(...tokens) } as unknown as Tokenizer;

function randomDecoder(name: string): Decoder {
  const config = { ...parseConfig(JSON.parse(readFileSync(`${fixture(name)}/config.json`, 'utf8'))), initializerRange: 0.2 };
  return createDecoder(config, randomWeights(config, 7));
}

let decoder: Decoder;

beforeAll(async () => {
  await selectBackend(testBackend());
  decoder = randomDecoder('smollm2');
});

function decoding(options: Partial<DecodingOptions> = {}, model = decoder) {
  const { vocabSize, maxPositions } = model.config;
  return new Decoding(model, tokenizer, { maxBatchSize: 64, maxCacheBytes: 2 ** 24, prefillTokens: 2048, vocabSize, maxPositions, eosTokenIds: [2], version: () => 5, ...options });
}

async function run(engine: Decoding, requests: readonly GenerateRequest[], signal = new AbortController().signal, onItem?: (completion: Completion) => void) {
  const order: Completion[] = [];
  await engine.generate(requests, { signal, item: (completion) => (order.push(completion), onItem?.(completion)) });
  const byName = new Map(order.map((completion) => [`${completion.requestId}/${completion.index}`, completion]));
  return { order, byName };
}

const prompt = (length: number, seed = 3) => Int32Array.from({ length }, (_, i) => 10 + ((i * 37 + seed * 11) % 200));
const request = (id: string, more: Partial<GenerateRequest> = {}): GenerateRequest => ({ id, prompt: prompt(5 + id.length), seed: 42, ...more });

/** Log-probs of the new tokens from one full pass, without a cache. */
function fullLogps(model: Decoder, start: Int32Array, tokens: Int32Array, temperature: number): Float32Array {
  const all = Int32Array.from([...start, ...tokens]);
  const part = { tokens: all, offsets: Int32Array.of(0, all.length), prefixOf: Int32Array.of(-1), actionIndex: Int32Array.from(tokens, (_, t) => start.length + t) };
  return new Training(model, null, () => undefined).forward({ part, needs: ['logps'], temperature, reference: false }).logps!;
}

describe('decoding with a cache', () => {
  it.each(['smollm2', 'mistral', 'qwen3', 'gpt2'])('is greedy like the full pass, and gives its log-probs (%s)', async (name) => {
    const model = name === 'smollm2' ? decoder : randomDecoder(name);
    const start = prompt(9);
    const { byName } = await run(decoding({}, model), [{ id: 'g', prompt: start, seed: 0, sampling: { temperature: 0, maxNewTokens: 12, ignoreEos: true } }]);
    const { tokens, logps } = byName.get('g/0')!;
    expect(tokens).toHaveLength(12);
    // Each candidate for the next token as a sequence of its own that starts from what came before: the chosen one is the likeliest.
    for (const t of [0, 1, 7, 11]) {
      const before = Int32Array.from([...start, ...tokens.slice(0, t)]);
      const { vocabSize } = model.config;
      const part = {
        tokens: Int32Array.from([...before, ...Array.from({ length: vocabSize }, (_, v) => v)]),
        offsets: Int32Array.from([0, ...Array.from({ length: vocabSize + 1 }, (_, v) => before.length + v)]),
        prefixOf: Int32Array.from([-1, ...new Array<number>(vocabSize).fill(0)]),
        actionIndex: Int32Array.from({ length: vocabSize }, (_, v) => before.length + v),
      };
      const all = new Training(model, null, () => undefined).forward({ part, needs: ['logps'], temperature: 1, reference: false }).logps!;
      expect(tokens[t]).toBe(all.indexOf(Math.max(...all)));
      expect(logps![t]).toBeCloseTo(all[tokens[t]], 4);
    }
    fullLogps(model, start, tokens, 1).forEach((logp, t) => expect(Math.abs(logp - logps![t])).toBeLessThan(1e-4));
  });

  it('gives the log-probs of the learner at the temperature, filters or not', async () => {
    const asked = [0.7, 1, 1.5].flatMap((temperature) => [{}, { topK: 5 }, { topP: 0.6 }, { minP: 0.1 }, { repetitionPenalty: 1.3 }].map((filter) => ({ temperature, maxNewTokens: 8, ignoreEos: true, ...filter })));
    const { byName } = await run(decoding(), asked.map((sampling, i) => request(`${i}`, { sampling, n: 2 })));
    for (const { requestId, tokens, logps } of byName.values()) {
      const { prompt: start } = request(requestId);
      fullLogps(decoder, start, tokens, asked[Number(requestId)].temperature).forEach((logp, t) => expect(Math.abs(logp - logps![t])).toBeLessThan(1e-4));
    }
  });

  it.each(['smollm2', 'mistral', 'gpt2'])('computes a beginning that prompts share once, and samples the same (%s)', async (name) => {
    const model = name === 'smollm2' ? decoder : randomDecoder(name);
    const shared = [...prompt(70)];
    const sampling = { maxNewTokens: 6, ignoreEos: true };
    const requests = [[1, 2], [3], [1, 4, 5, 6], []].map((tail, i) => request(`${i}`, { prompt: Int32Array.from([...shared, ...tail]), sampling, n: i === 1 ? 3 : 1 }));
    requests.push(request('apart', { prompt: prompt(90, 5), sampling }));
    const hidden = vi.spyOn(model, 'hidden');
    const together = (await run(decoding({}, model), requests)).byName;
    expect(hidden.mock.calls[0][0]).toHaveLength(69 + 3 + 2 + 5 + 1 + 90);
    hidden.mockRestore();
    const oneByOne = new Map((await Promise.all(requests.map(async (one) => [...(await run(decoding({}, model), [one])).byName]))).flat());
    expect(together.size).toBe(7);
    for (const [key, { tokens, logps }] of together) {
      expect([...tokens]).toEqual([...oneByOne.get(key)!.tokens]);
      logps!.forEach((logp, t) => expect(Math.abs(logp - oneByOne.get(key)!.logps![t])).toBeLessThan(1e-4));
    }
  });

  it.each(['smollm2', 'mistral', 'gpt2'])('does not compute again what a prompt under way begins with, and samples the same (%s)', async (name) => {
    const model = name === 'smollm2' ? decoder : randomDecoder(name);
    const shared = [...prompt(70)];
    const requests = [[1, 2], [3], [1, 4, 5, 6], [], [9, 9]].map((tail, i) => request(`${i}`, { prompt: Int32Array.from([...shared, ...tail]), sampling: { maxNewTokens: 4 + 3 * i, ignoreEos: true }, n: i === 2 ? 2 : 1 }));
    const hidden = vi.spyOn(model, 'hidden');
    const oneAfterTheOther = (await run(decoding({ maxBatchSize: 2 }, model), requests)).byName;
    const computed = hidden.mock.calls.map(([tokens]) => tokens.length);
    hidden.mockRestore();
    expect(computed[0]).toBe(70 + 2 + 1);
    expect(Math.max(...computed.slice(1))).toBeLessThan(10);
    const alone = new Map((await Promise.all(requests.map(async (one) => [...(await run(decoding({}, model), [one])).byName]))).flat());
    expect(oneAfterTheOther.size).toBe(6);
    for (const [key, { tokens, logps }] of oneAfterTheOther) {
      expect([...tokens]).toEqual([...alone.get(key)!.tokens]);
      logps!.forEach((logp, t) => expect(Math.abs(logp - alone.get(key)!.logps![t])).toBeLessThan(1e-4));
    }
  });

  it('draws a sample that does not depend on its company, the batch or the cache', async () => {
    const sampling = { maxNewTokens: 10, ignoreEos: true };
    const requests = ['a', 'bb', 'ccc', 'dddd'].map((id) => request(id, { n: 3, sampling: { ...sampling, maxNewTokens: 4 + 2 * id.length } }));
    const together = (await run(decoding(), requests)).byName;
    const bytesPerRow = 2 * 2 * decoder.config.numKvHeads * decoder.config.headDim * 4;
    const tight = (await run(decoding({ maxBatchSize: 2, maxCacheBytes: 40 * bytesPerRow, prefillTokens: 8 }), requests)).byName;
    const oneByOne = new Map((await Promise.all(requests.map(async (one) => [...(await run(decoding(), [one])).byName]))).flat());
    expect(together.size).toBe(12);
    for (const [name, { tokens, logps }] of together)
      for (const other of [tight, oneByOne]) {
        expect([...other.get(name)!.tokens]).toEqual([...tokens]);
        other.get(name)!.logps!.forEach((logp, t) => expect(logp).toBeCloseTo(logps![t], 4));
      }
    const drawn = new Set([...together].filter(([name]) => name.startsWith('dddd')).map(([, { tokens }]) => tokens.join()));
    expect(drawn.size).toBe(3); // the samples of one request differ
  });

  it('serves a sample that alone exceeds the bound of the cache', async () => {
    const { byName } = await run(decoding({ maxCacheBytes: 1 }), [request('a', { n: 3, sampling: { maxNewTokens: 6, ignoreEos: true } }), request('b', { sampling: { maxNewTokens: 1, ignoreEos: true } })]);
    expect([...byName.values()].map(({ tokens }) => tokens.length).sort()).toEqual([1, 6, 6, 6]);
  });

  it('lets short samples end first and tells the version', async () => {
    const { order } = await run(decoding(), [request('long', { sampling: { maxNewTokens: 9, ignoreEos: true } }), request('short', { sampling: { maxNewTokens: 2, ignoreEos: true } })]);
    expect(order.map(({ requestId }) => requestId)).toEqual(['short', 'long']);
    expect(order[0]).toMatchObject({ finishReason: 'length', version: 5 });
  });

  it('leaves no tensor behind', async () => {
    const engine = decoding();
    const before = memory().numTensors;
    for (let i = 0; i < 3; i++) await run(engine, [request('a', { n: 4 })]);
    expect(memory().numTensors).toBe(before);
  });
});

describe.skipIf((await testBackends('native')).length === 0)('decoding with a cache of bfloat16', () => {
  let before: ReturnType<typeof matmulPrecision>;
  beforeAll(async () => {
    await selectBackend('native');
    before = matmulPrecision();
    setMatmulPrecision('bf16');
  });
  afterAll(async () => {
    setMatmulPrecision(before);
    await selectBackend(testBackend());
  });

  it.each(['smollm2', 'mistral', 'qwen3', 'gpt2'])('gives the log-probs of the full pass, whatever is copied or grows meanwhile, in half the memory (%s)', async (name) => {
    const model = randomDecoder(name);
    const shared = [...prompt(70)];
    const requests = [[1, 2], [3], [1, 4, 5, 6], [], [9, 9]].map((tail, i) => request(`${i}`, { prompt: Int32Array.from([...shared, ...tail]), sampling: { maxNewTokens: 3 + 4 * i, ignoreEos: true }, n: i === 2 ? 2 : 1 }));
    const { numLayers, numKvHeads, headDim } = model.config;
    const bytesPerRow = numLayers * 2 * numKvHeads * headDim * 2;
    const { byName } = await run(decoding({ maxBatchSize: 2, maxCacheBytes: 240 * bytesPerRow }, model), requests);
    expect(byName.size).toBe(6);
    for (const { requestId, tokens, logps } of byName.values()) {
      fullLogps(model, requests[Number(requestId)].prompt, tokens, 1).forEach((logp, t) => expect(Math.abs(logp - logps![t])).toBeLessThan(1e-5));
    }
  });
});

describe('the end of a sample', () => {
  const greedy = { temperature: 0, maxNewTokens: 12, ignoreEos: true };
  const free = async () => (await run(decoding(), [request('x', { sampling: greedy })])).byName.get('x/0')!;

  it('comes with a stop token, which stays in the tokens and out of the text', async () => {
    const { tokens } = await free();
    const stop = tokens[4];
    const first = tokens.indexOf(stop);
    const { byName } = await run(decoding(), [request('x', { sampling: { ...greedy, stopTokens: [stop] } })]);
    expect(byName.get('x/0')).toMatchObject({ finishReason: 'stop', text: tokenizer.decode(tokens.slice(0, first)) });
    expect([...byName.get('x/0')!.tokens]).toEqual([...tokens.slice(0, first + 1)]);
  });

  it('comes with the end-of-sequence token unless that is ignored', async () => {
    const { tokens } = await free();
    const engine = decoding({ eosTokenIds: [tokens[0]] });
    expect((await run(engine, [request('x', { sampling: { ...greedy, ignoreEos: false } })])).byName.get('x/0')!.tokens).toHaveLength(1);
    expect((await run(engine, [request('x', { sampling: greedy })])).byName.get('x/0')!.tokens).toHaveLength(12);
  });

  it('does not come before minNewTokens', async () => {
    const { tokens } = await free();
    const sampling = { ...greedy, ignoreEos: false, minNewTokens: 5 };
    const { byName } = await run(decoding({ eosTokenIds: [tokens[0]] }), [request('x', { sampling }), request('other', { sampling: greedy })]);
    const held = byName.get('x/0')!;
    expect(held.tokens.length).toBeGreaterThan(5);
    expect([...held.tokens.slice(0, 5)]).not.toContain(tokens[0]);
    fullLogps(decoder, request('x').prompt, held.tokens, 1).forEach((logp, t) => expect(Math.abs(logp - held.logps![t])).toBeLessThan(1e-4));
  });

  it('comes with a stop string that spans tokens; the text ends before it', async () => {
    const { tokens, text } = await free();
    const stop = text.slice(3, 5);
    const at = text.indexOf(stop);
    const { byName } = await run(decoding(), [request('x', { sampling: { ...greedy, stop: ['never', stop] } })]);
    expect(byName.get('x/0')).toMatchObject({ finishReason: 'stop', text: text.slice(0, at) });
    expect([...byName.get('x/0')!.tokens]).toEqual([...tokens.slice(0, at + 2)]);
  });

  it('comes with an abort: what is under way and what waits ends as aborted', async () => {
    const controller = new AbortController();
    const requests = [request('first', { sampling: { maxNewTokens: 3, ignoreEos: true } }), request('second', { n: 4, sampling: { maxNewTokens: 60, ignoreEos: true } })];
    const engine = decoding({ maxBatchSize: 3 });
    const other = run(engine, [request('kept', { sampling: { maxNewTokens: 20, ignoreEos: true } })]);
    const { order } = await run(engine, requests, controller.signal, ({ requestId }) => requestId === 'first' && controller.abort());
    expect(order.map(({ finishReason }) => finishReason)).toEqual(['length', 'aborted', 'aborted', 'aborted', 'aborted']);
    expect(order.at(-1)!.tokens).toHaveLength(0);
    expect((await other).byName.get('kept/0')).toMatchObject({ finishReason: 'length' });
  });

  it.each<[string, Partial<GenerateRequest>, string, RegExp]>([
    ['a prompt that is a plain array', { prompt: [5, 6] as unknown as Int32Array }, 'bad_data', /not an Int32Array/],
    ['an empty prompt', { prompt: new Int32Array(0) }, 'bad_data', /empty prompt/],
    ['a token outside the vocabulary', { prompt: Int32Array.of(5, 999) }, 'bad_data', /token 999/],
    ['more than the model has positions', { sampling: { maxNewTokens: 500 } }, 'bad_data', /96 positions \(at most 90 new tokens fit\)/],
    ['a negative temperature', { sampling: { temperature: -1 } }, 'bad_config', /temperature is -1/],
    ['topP 0', { sampling: { topP: 0 } }, 'bad_config', /topP is 0/],
    ['half a sample', { n: 1.5 }, 'bad_config', /n is 1.5/],
    ['a seed that is no integer', { seed: 0.5 }, 'bad_config', /seed is 0.5/],
  ])('never begins for %s', async (_, change, code, message) => {
    await expect(async () => run(decoding(), [request('x', change)])).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });

  it('comes with the error when a prompt cannot be computed, and others can be generated after it', async () => {
    const engine = decoding();
    const failing = vi.spyOn(decoder, 'hidden').mockImplementationOnce(() => {
      throw new Error('no memory');
    });
    try {
      await expect(run(engine, [request('a'), request('b')])).rejects.toThrow('no memory');
    } finally {
      failing.mockRestore();
    }
    expect((await run(engine, [request('c')])).order).toHaveLength(1);
  });

  it('comes with an error for everyone when the engine is disposed', async () => {
    const engine = decoding();
    const pending = run(engine, [request('a', { sampling: { maxNewTokens: 50, ignoreEos: true } })]);
    setTimeout(() => engine.dispose(), 5);
    await expect(pending).rejects.toMatchObject({ code: 'closed' });
  });
});

describe('what a stream is told', () => {
  it('is every token of a sample but its last, with its log-prob, and the likeliest tokens where they are asked for', async () => {
    const told = new Map<string, { tokens: number[]; logps: number[]; tops: number[] }>();
    const done = new Map<string, Completion>();
    const requests = [request('plain', { n: 2, sampling: { maxNewTokens: 5, ignoreEos: true } }), request('top', { topLogps: 3, sampling: { temperature: 0, maxNewTokens: 4, ignoreEos: true } })];
    await decoding().generate(requests, {
      signal: new AbortController().signal,
      item: (completion) => done.set(`${completion.requestId}/${completion.index}`, completion),
      progress: (events) => {
        for (const { requestId, index, token, logp, top } of events) {
          const name = `${requestId}/${index}`;
          expect(done.has(name)).toBe(false);
          if (!told.has(name)) told.set(name, { tokens: [], logps: [], tops: [] });
          const { tokens, logps, tops } = told.get(name)!;
          tokens.push(token);
          logps.push(logp);
          if (top) tops.push(...top.tokens);
        }
      },
    });
    for (const [name, { tokens, logps }] of told) {
      expect(tokens).toEqual([...done.get(name)!.tokens.slice(0, -1)]);
      expect(logps).toEqual([...done.get(name)!.logps!.slice(0, -1)]);
    }
    const top = done.get('top/0')!;
    expect(top.topLogps!.tokens).toHaveLength(12);
    expect([...top.topLogps!.tokens.slice(0, 9)]).toEqual(told.get('top/0')!.tops);
    top.tokens.forEach((token, t) => {
      expect(top.topLogps!.tokens[3 * t]).toBe(token); // greedy
      expect(top.topLogps!.logps[3 * t]).toBeCloseTo(top.logps![t], 5);
    });
    expect(done.get('plain/0')!.topLogps).toBeUndefined();
  });
});
