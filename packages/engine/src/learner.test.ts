import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { defineObjective, type Coupling, type Objective, type TokenBatch } from '@espalier/spec';
import { createDecoder, parseConfig, randomWeights, type Decoder } from '@espalier/models';
import { memory, selectBackend } from '@espalier/tensor';
import { testBackend } from '@espalier/tensor/testing';
import type { Connection } from './connection';
import { EngineLearner } from './learner';
import type { EngineInfo } from './protocol';
import { assign } from './reference-file';
import { fixture, groupBatch, weightedNll } from './test-support';
import { Training } from './training';

let decoder: Decoder;

beforeAll(async () => {
  await selectBackend(testBackend());
  const config = parseConfig(JSON.parse(readFileSync(`${fixture('smollm2')}/config.json`, 'utf8')));
  decoder = createDecoder({ ...config, initializerRange: 0.2 }, randomWeights({ ...config, initializerRange: 0.2 }, 1));
});

/** A learner whose engine is in reach: calls go straight to the training state. */
function direct(maxTokensPerMicroBatch: number) {
  const training = new Training(decoder, null, () => undefined);
  const calls: string[] = [];
  const serve = (method: string, params: never): unknown => {
    calls.push(method);
    const { part, needs, temperature, reference, tape, grads } = (params ?? {}) as Record<string, never>;
    if (method === 'forward') return training.forward({ part, needs, temperature, reference });
    if (method === 'tapeForward') return training.tapeForward(part, needs, temperature);
    if (method === 'tapeBackward') return training.tapeBackward(tape, grads);
    if (method === 'tapeDispose') return training.tapeDispose(tape);
    if (method === 'clearGradients') return training.clearGradients();
    if (method === 'addZero') return training.addZero();
    throw new Error(`no ${method} here`);
  };
  const connection = { call: async (method: string, params: never) => serve(method, params) } as unknown as Connection;
  const info = { backend: testBackend(), precision: 'fp32', config: decoder.config, maxPositions: decoder.config.maxPositions } as unknown as EngineInfo;
  return { training, calls, learner: new EngineLearner(connection, { info, maxTokensPerMicroBatch, close: async () => {} }) };
}

async function gradientOf(batches: readonly TokenBatch[], objective: Objective, budget: number) {
  const { learner, training } = direct(budget);
  let loss = 0;
  for (const batch of batches) loss += (await learner.forwardBackward(batch, objective)).loss;
  const gradients = new Map([...training.gradients].map(([name, grad]) => [name, Float32Array.from(grad.dataSync())]));
  training.clearGradients();
  return { loss, gradients };
}

/** Relative L2 distance over all parameters. */
function distance(a: Map<string, Float32Array>, b: Map<string, Float32Array>): number {
  expect([...a.keys()].sort()).toEqual([...b.keys()].sort());
  let [difference, size] = [0, 0];
  for (const [name, x] of a) {
    const y = b.get(name)!;
    for (let i = 0; i < x.length; i++) {
      difference += (x[i] - y[i]) ** 2;
      size += x[i] ** 2;
    }
  }
  return Math.sqrt(difference / size);
}

describe('actions without a derivative', () => {
  const batch = groupBatch({ prompts: 3, samples: 2 });
  const weights = batch.columns.weights;
  const sequenceOf = Int32Array.from(batch.actionIndex, (t) => batch.offsets.findIndex((_, s) => batch.offsets[s + 1] > t));
  const idle = new Set([batch.prefixOf![sequenceOf[0]]]); // the first prompt
  const half: TokenBatch = { ...batch, columns: { weights: weights.map((weight, a) => (idle.has(batch.prefixOf![sequenceOf[a]]) ? 0 : weight)) } };
  const plain = weightedNll('sequence');
  const marked = defineObjective({ ...plain, inert: ({ columns }) => Uint8Array.from(columns.weights, (weight) => (weight === 0 ? 1 : 0)) });

  it('are computed without a backward pass, and all else is the same', async () => {
    const [expected, found] = [await gradientOf([half], plain, 1000), await gradientOf([half], marked, 1000)];
    expect(found.loss).toBeCloseTo(expected.loss, 6);
    expect(distance(expected.gradients, found.gradients)).toBeLessThan(1e-5);
    const { learner, calls, training } = direct(1000);
    const [whole, separate] = [await learner.forwardBackward(half, plain), await learner.forwardBackward(half, marked)];
    expect(separate.metrics.nll.sum).toBeCloseTo(whole.metrics.nll.sum, 5);
    expect(calls).toEqual(['tapeForward', 'tapeBackward', 'tapeForward', 'tapeBackward', 'forward', 'addZero']);
    training.clearGradients();
  });

  it('are taken at their word, and a wrong word is refused', async () => {
    const wrong = defineObjective({ ...plain, inert: ({ actionIndex }) => new Uint8Array(actionIndex.length).fill(1) });
    await expect(direct(1000).learner.forwardBackward(half, wrong)).rejects.toMatchObject({ code: 'bad_data', message: expect.stringContaining('inert') as string });
  });
});

describe('gradients', () => {
  const batch = groupBatch({ prompts: 2, samples: 4 });

  it.each<Coupling>(['token', 'sequence', 'batch'])('do not depend on how a batch is cut (coupling %s)', async (coupling) => {
    const whole = await gradientOf([batch], weightedNll(coupling), 10_000);
    for (const budget of [1, 25]) {
      const cut = await gradientOf([batch], weightedNll(coupling), budget);
      expect(cut.loss).toBeCloseTo(whole.loss, 5);
      expect(distance(whole.gradients, cut.gradients)).toBeLessThan(1e-5);
    }
  });

  it('are those of the repeated prompt where a prompt is shared', async () => {
    const shared = await gradientOf([batch], weightedNll(), 10_000);
    const repeated = await gradientOf([groupBatch({ prompts: 2, samples: 4, share: false })], weightedNll(), 10_000);
    expect(distance(shared.gradients, repeated.gradients)).toBeLessThan(1e-5);
  });

  it('accumulate: eight batches of one are one of eight', async () => {
    const one = groupBatch({ prompts: 1, samples: 8 });
    const eight = Array.from({ length: 8 }, (_, k): TokenBatch => {
      const [start, end] = [one.offsets[k + 1], one.offsets[k + 2]];
      const prompt = one.offsets[1];
      const chosen = [...one.actionIndex.keys()].filter((a) => one.actionIndex[a] >= start && one.actionIndex[a] < end);
      return {
        tokens: Int32Array.from([...one.tokens.slice(0, prompt), ...one.tokens.slice(start, end)]),
        offsets: Int32Array.of(0, prompt, prompt + end - start),
        prefixOf: Int32Array.of(-1, 0),
        actionIndex: Int32Array.from(chosen, (a) => one.actionIndex[a] - start + prompt),
        columns: { weights: Float32Array.from(chosen, (a) => one.columns.weights[a]) },
        normalizer: one.normalizer,
      };
    });
    const whole = await gradientOf([one], weightedNll(), 10_000);
    const parts = await gradientOf(eight, weightedNll(), 10_000);
    expect(parts.loss).toBeCloseTo(whole.loss, 5);
    expect(distance(whole.gradients, parts.gradients)).toBeLessThan(1e-5);
  });

  it('of entropy and Σp² agree with finite differences of the loss', async () => {
    const objective = defineObjective({
      name: 'mixed',
      needs: ['logps', 'entropy', 'sumSquares'],
      coupling: 'token',
      evaluate: ({ logps, entropy, sumSquares }) => ({
        loss: logps!.reduce((s, x) => s + 0.3 * x, 0) + entropy!.reduce((s, x) => s - 0.7 * x, 0) + sumSquares!.reduce((s, x) => s + 2 * x, 0),
        grads: { logps: logps!.map(() => 0.3), entropy: entropy!.map(() => -0.7), sumSquares: sumSquares!.map(() => 2) },
        metrics: {},
      }),
    });
    const small = groupBatch({ prompts: 1, samples: 2 });
    const { gradients } = await gradientOf([small], objective, 10_000);
    const { learner } = direct(10_000);
    const lossAt = async () => objective.evaluate(await learner.forward(small, objective.needs), small).loss;
    const name = 'model.layers.1.mlp.down_proj.weight';
    const parameter = decoder.parameters.get(name)!;
    const gradient = gradients.get(name)!;
    // Along the gradient itself the loss rises by its squared length.
    const length = Math.sqrt(gradient.reduce((s, g) => s + g * g, 0));
    const start = Float32Array.from(parameter.dataSync());
    const moveTo = (t: number) => assign(decoder, name, start.map((value, i) => value + (t * gradient[i]) / length));
    const h = 0.02;
    moveTo(h);
    const up = await lossAt();
    moveTo(-h);
    const down = await lossAt();
    moveTo(0);
    expect((up - down) / (2 * h) / length).toBeCloseTo(1, 2);
  });

  it('cost nothing where the objective gives zero', async () => {
    const { learner, calls, training } = direct(25);
    const zero = defineObjective({ ...weightedNll(), evaluate: ({ logps }) => ({ loss: 0, grads: { logps: new Float32Array(logps!.length) }, metrics: {} }) });
    await learner.forwardBackward(batch, zero);
    expect(calls).not.toContain('tapeBackward');
    expect(training.gradients.size).toBe(0);
  });
});

describe('the learner', () => {
  const batch = groupBatch({ prompts: 2, samples: 3 });

  it('evaluates an objective of coupling batch once, on everything', async () => {
    const { learner, training } = direct(10);
    const sizes: number[] = [];
    const objective = weightedNll('batch');
    await learner.forwardBackward(batch, { ...objective, evaluate: (outputs, seen) => (sizes.push(seen.actionIndex.length), objective.evaluate(outputs, seen)) });
    expect(sizes).toEqual([batch.actionIndex.length]);
    training.clearGradients();
  });

  it('shows pairs without a token to train on to the objective, and computes nothing for them', async () => {
    const { learner, calls, training } = direct(1);
    const { actionIndex, offsets } = batch; // sequences 1, 2, 3 start from 0; 5, 6, 7 from 4
    const kept = [...actionIndex.keys()].filter((a) => actionIndex[a] < offsets[3]); // of 1 and 2 only
    const paired: TokenBatch = { ...batch, actionIndex: actionIndex.slice(0, kept.length), columns: { weights: batch.columns.weights.slice(0, kept.length) }, pairs: Int32Array.of(1, 2, 5, 6) };
    const pairs: number[] = [];
    const objective = weightedNll('pair');
    await learner.forwardBackward(paired, { ...objective, evaluate: (outputs, seen) => (pairs.push(seen.pairs!.length / 2), objective.evaluate(outputs, seen)) });
    expect(pairs).toEqual([1, 1]);
    expect(calls.filter((method) => method === 'tapeForward')).toHaveLength(1);
    training.clearGradients();
  });

  it('answers a repeated sequence number with what it answered before', async () => {
    const { learner, calls, training } = direct(10_000);
    const first = await learner.forwardBackward(batch, weightedNll(), { seq: 1 });
    const count = calls.length;
    expect(await learner.forwardBackward(batch, weightedNll(), { seq: 1 })).toBe(first);
    expect(calls).toHaveLength(count);
    await learner.forwardBackward(batch, weightedNll(), { seq: 2 });
    await expect(learner.forwardBackward(batch, weightedNll(), { seq: 1 })).rejects.toMatchObject({ code: 'usage' });
    await expect(learner.optimStep({ learningRate: 1 }, { seq: 2 })).rejects.toMatchObject({ code: 'usage' });
    training.clearGradients();
  });

  it.each<[string, Partial<Objective>, string, RegExp]>([
    ['a loss that is not finite', { evaluate: () => ({ loss: NaN, grads: {}, metrics: {} }) }, 'bad_data', /"weighted-nll" gave the loss NaN/],
    ['a derivative that is not finite', { evaluate: ({ logps }) => ({ loss: 0, grads: { logps: logps!.map((_, a) => (a === 2 ? Infinity : 0)) }, metrics: {} }) }, 'bad_data', /Infinity as the derivative of "logps" at action 2/],
    ['a derivative of the wrong length', { evaluate: () => ({ loss: 0, grads: { logps: new Float32Array(1) }, metrics: {} }) }, 'bad_data', /gave 1 derivatives/],
    ['a derivative of what it did not ask for', { evaluate: ({ logps }) => ({ loss: 0, grads: { entropy: logps }, metrics: {} }) }, 'bad_data', /does not name in needs/],
    ['an output that is not here', { needs: ['logps', 'values'] }, 'unsupported', /no output "values"/],
    ['other contracts', { specVersion: 'v9' as 'v1' }, 'incompatible_plugin', /v9/],
  ])('refuses %s, and forgets what was accumulated', async (_, change, code, message) => {
    const { learner, training } = direct(10_000);
    const before = memory().numTensors;
    await expect(learner.forwardBackward(batch, { ...weightedNll(), ...change })).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    expect(training.gradients.size).toBe(0);
    expect(memory().numTensors).toBe(before);
  });

  it('stops between parts when it is aborted', async () => {
    const { learner, calls, training } = direct(1);
    const controller = new AbortController();
    const objective = weightedNll();
    const aborting: Objective = { ...objective, evaluate: (outputs, seen) => (controller.abort(), objective.evaluate(outputs, seen)) };
    await expect(learner.forwardBackward(batch, aborting, { signal: controller.signal })).rejects.toMatchObject({ code: 'aborted' });
    expect(calls.filter((method) => method === 'tapeForward')).toHaveLength(1);
    expect(training.gradients.size).toBe(0);
  });
});
