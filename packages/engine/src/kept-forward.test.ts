import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Completion, GenerateRequest, TokenBatch } from '@espalier/spec';
import { memory, probeBackends } from '@espalier/tensor';
import { openEngine, type Engine, type EngineOptions } from './engine';
import { KeptForward } from './kept-forward';
import { fixture, weightedNll } from './test-support';

const native = (await probeBackends()).some(({ name, available }) => name === 'native' && available);
if (!native) console.warn('not checked here: the Rust kernels are missing');

const opened: Engine[] = [];
async function open(options: Partial<EngineOptions> = {}): Promise<Engine> {
  const engine = await openEngine({ model: fixture('smollm2'), backend: 'native', inline: true, ...options });
  opened.push(engine);
  return engine;
}
const used = vi.spyOn(KeptForward.prototype, 'known');
beforeEach(() => void used.mockClear());
afterEach(async () => {
  for (const engine of opened.splice(0)) await engine.close();
});

const prompt = (length: number, seed: number) => Int32Array.from({ length }, (_, i) => 10 + ((i * 37 + seed * 11) % 200));
const requests = (sampling: GenerateRequest['sampling']): GenerateRequest[] => [
  { id: 'a', prompt: prompt(9, 1), seed: 1, n: 3, sampling },
  { id: 'b', prompt: prompt(14, 2), seed: 2, n: 2, sampling: { ...sampling, maxNewTokens: 7 } },
];
const whole = { maxNewTokens: 12, ignoreEos: true };
/** A seventh of the vocabulary ends a sample: they end here and there. */
const ragged = { maxNewTokens: 12, ignoreEos: true, stopTokens: Array.from({ length: 40 }, (_, i) => 100 + i) };

async function sample(engine: Engine, asked: readonly GenerateRequest[], forTraining: boolean): Promise<Completion[]> {
  const all: Completion[] = [];
  for await (const completion of engine.generate(asked, { forTraining })) all.push(completion);
  return all.sort((x, y) => x.requestId.localeCompare(y.requestId) || x.index - y.index);
}

/** Each prompt once, before its completions, of which every token is an action. */
function batchOf(asked: readonly GenerateRequest[], completions: readonly Completion[]): TokenBatch {
  const [tokens, offsets, prefixOf, actionIndex]: [number[], number[], number[], number[]] = [[], [0], [], []];
  for (const { id, prompt } of asked) {
    const prefix = prefixOf.push(-1) - 1;
    tokens.push(...prompt);
    offsets.push(tokens.length);
    for (const completion of completions.filter(({ requestId }) => requestId === id)) {
      completion.tokens.forEach((token) => actionIndex.push(tokens.push(token) - 1));
      offsets.push(tokens.length);
      prefixOf.push(prefix);
    }
  }
  const [t, o, p, a] = [tokens, offsets, prefixOf, actionIndex].map((values) => Int32Array.from(values));
  const weights = Float32Array.from(a, (_, i) => Math.sin(i) + 0.3);
  return { tokens: t, offsets: o, prefixOf: p, actionIndex: a, columns: { weights }, normalizer: { tokens: a.length, sequences: completions.length } };
}

/** A step on what was sampled: the loss, and the log-probs after it. */
async function step(engine: Engine, batch: TokenBatch): Promise<{ loss: number; after: Float32Array }> {
  const { loss } = await engine.learner.forwardBackward(batch, weightedNll('sequence'));
  await engine.learner.optimStep({ learningRate: 1e-2 });
  return { loss, after: (await engine.learner.forward(batch, ['logps'])).logps! };
}

describe.skipIf(!native)('what generation keeps for training', () => {
  it.each([
    ['smollm2', 'fp32', whole],
    ['smollm2', 'fp32', ragged],
    ['smollm2', 'bf16', ragged],
    ['qwen3', 'bf16', whole],
    ['qwen2', 'fp32', ragged],
    ['mistral', 'fp32', ragged],
    ['smollm2', 'fp32', ragged, { freeze: { layers: 1 } }],
    ['smollm2', 'bf16', whole, { scalarHead: true }],
  ] as [string, 'fp32' | 'bf16', GenerateRequest['sampling'], Partial<EngineOptions>?][])('gives the step that is computed anew (%s, %s, %j, %j)', async (name, precision, sampling, options = {}) => {
    const asked = requests(sampling);
    const results = [];
    for (const forTraining of [true, false]) {
      const engine = await open({ model: fixture(name), precision, ...options });
      const completions = await sample(engine, asked, forTraining);
      results.push({ tokens: completions.map(({ tokens }) => [...tokens]), ...(await step(engine, batchOf(asked, completions))) });
    }
    const [kept, anew] = results;
    expect(used).toHaveBeenCalledTimes(1);
    expect(kept.tokens).toEqual(anew.tokens);
    expect(kept.loss).toBeCloseTo(anew.loss, 6);
    kept.after.forEach((logp, a) => expect(Math.abs(logp - anew.after[a])).toBeLessThan(2e-5));
  });

  it('serves micro-batches and passes without a gradient, and gives all memory back', async () => {
    const asked = requests(ragged);
    const engine = await open({ maxTokensPerMicroBatch: 80 });
    await step(engine, batchOf(asked, await sample(engine, asked, false))); // the optimiser's moments are made
    const before = memory().numTensors;
    const completions = await sample(engine, asked, true);
    const batch = batchOf(asked, completions);
    expect(memory().numTensors).toBeGreaterThan(before);
    const { logps } = await engine.learner.forward(batch, ['logps']);
    completions.flatMap((completion) => [...completion.logps!]).forEach((logp, a) => expect(logps![a]).toBeCloseTo(logp, 5));
    expect(used).toHaveBeenCalledTimes(1);
    // One request after the other: the last of them takes what is left.
    for (const { id } of asked) {
      const own = completions.filter(({ requestId }) => requestId === id);
      await engine.learner.forwardBackward(batchOf(asked.filter((request) => request.id === id), own), weightedNll('sequence'));
    }
    expect(used).toHaveBeenCalledTimes(3);
    await engine.learner.clearGradients!();
    expect(memory().numTensors).toBe(before);
    await step(engine, batch);
    expect(used).toHaveBeenCalledTimes(3);
    expect(memory().numTensors).toBe(before);
  });

  it('is forgotten when the weights change, and not used for other tokens or with the reference', async () => {
    const asked = requests(whole);
    const engine = await open({ reference: true });
    const before = memory().numTensors;
    const batch = batchOf(asked, await sample(engine, asked, true));
    await engine.learner.forward(batch, ['logps'], { reference: true });
    await engine.learner.forward(batch, ['logps'], { precision: 'fp32' });
    const other = { ...batch, tokens: batch.tokens.map((token, t) => (t === batch.offsets[2] ? token + 1 : token)) };
    await engine.learner.forward(other, ['logps']);
    await engine.learner.forwardBackward(batch, weightedNll('sequence'), { neftuneNoiseAlpha: 5, seed: 1 });
    expect(used).not.toHaveBeenCalled();
    await engine.learner.optimStep({ learningRate: 1e-2 });
    const moments = 2 * engine.info.config.numLayers * 9 + 2 * 2;
    expect(memory().numTensors).toBe(before + moments);
    await engine.learner.forward(batch, ['logps']);
    expect(used).not.toHaveBeenCalled();
  });

  it.each<[string, Partial<EngineOptions>]>([
    ['more tokens than a micro-batch', { maxTokensPerMicroBatch: 67 }],
    ['an adapter', { lora: { rank: 4 } }],
    ['gradient checkpointing', { gradientCheckpointing: true }],
    ['a rounded sampler', { samplerWeights: 'int8' }],
    ['another backend', { backend: 'cpu' }],
    ['learned positions', { model: fixture('gpt2') }],
  ])('is left undone beside %s', async (_, options) => {
    const asked = requests(whole);
    const engine = await open(options);
    const before = memory().numTensors;
    const completions = await sample(engine, asked, true);
    expect(memory().numTensors).toBe(before);
    await step(engine, batchOf(asked, completions));
    expect(used).not.toHaveBeenCalled();
  });

  it('survives requests that come in between, of which none is kept', async () => {
    const asked = requests(whole);
    const engine = await open();
    const [completions, between] = await Promise.all([sample(engine, asked, true), sample(engine, [{ id: 'c', prompt: prompt(9, 1), seed: 5, n: 2, sampling: whole }], true)]);
    const { logps } = await engine.learner.forward(batchOf(asked, completions), ['logps']);
    expect(used).toHaveBeenCalledTimes(1);
    completions.flatMap((completion) => [...completion.logps!]).forEach((logp, a) => expect(logps![a]).toBeCloseTo(logp, 5));
    await engine.learner.forward(batchOf([{ id: 'c', prompt: prompt(9, 1), seed: 5 }], between), ['logps']);
    expect(used).toHaveBeenCalledTimes(1);
  });
});
