import { afterEach, describe, expect, it } from 'vitest';
import type { Completion, GenerateRequest, SamplingOptions } from '@espalier/spec';
import { memory, probeBackends } from '@espalier/tensor';
import { openEngine, type Engine } from '../engine';
import { fixture } from '../test-support';

const native = (await probeBackends()).some(({ name, available }) => name === 'native' && available);
if (!native) console.warn('not checked here: the Rust kernels are missing');

const opened: Engine[] = [];
afterEach(async () => {
  for (const engine of opened.splice(0)) await engine.close();
});

const prompt = (length: number, seed: number) => Int32Array.from({ length }, (_, i) => 10 + ((i * 37 + seed * 11) % 200));
/** A seventh of the vocabulary ends a sample. */
const stopTokens = Array.from({ length: 40 }, (_, i) => 100 + i);

describe.skipIf(!native)('steps of decoding in a row', () => {
  it.each<[string, SamplingOptions]>([
    ['samples that end anywhere', { stopTokens }],
    ['filters', { stopTokens, topK: 20, topP: 0.9, temperature: 0.8 }],
    ['a least length', { stopTokens, minNewTokens: 5 }],
    ['a penalty for what came before', { stopTokens, repetitionPenalty: 1.3 }],
    ['greedy samples to the end', { temperature: 0 }],
  ])('give what single ones give: %s', async (_, sampling) => {
    const engine = await openEngine({ model: fixture('smollm2'), backend: 'native', inline: true, maxBatchSize: 5 });
    opened.push(engine);
    const before = memory().numTensors;
    // More samples than fit at once, of different lengths: who waits enters when one ends.
    const requests = [23, 6, 17, 1, 9].map((maxNewTokens, i): GenerateRequest => ({ id: `${i}`, prompt: prompt(5 + i, i), seed: i, n: 3, sampling: { ignoreEos: true, maxNewTokens, ...sampling, minNewTokens: Math.min(maxNewTokens, sampling.minNewTokens ?? 0) } }));
    const run = async (onTokens?: () => void) => {
      const all: Completion[] = [];
      for await (const completion of engine.generate(requests, onTokens ? { onTokens } : {})) all.push(completion);
      return all.sort((a, b) => Number(a.requestId) - Number(b.requestId) || a.index - b.index);
    };
    const single = await run(() => undefined); // somebody wants to be told of each token as it is drawn
    const inARow = await run();
    expect(inARow).toHaveLength(15);
    expect(inARow).toEqual(single);
    if (sampling.stopTokens) expect(new Set(inARow.map(({ finishReason }) => finishReason))).toEqual(new Set(['stop', 'length']));
    expect(memory().numTensors).toBe(before);
  });
});
