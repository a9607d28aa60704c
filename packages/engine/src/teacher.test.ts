import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { defineObjective, type Coupling, type Objective, type OutputOptions, type TokenBatch } from '@espalier/spec';
import { characterTokenizer, createModel } from '@espalier/models';
import { testBackend } from '@espalier/tensor/testing';
import { openEngine, type Engine, type EngineOptions } from './engine';
import { fixture, generateAll, groupBatch } from './test-support';

let dir: string;
const open_: Engine[] = [];
const characters = 'abcdefghijklm';
const model = (name: string) => join(dir, name);

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'espalier-teacher-'));
  const make = (name: string, config: { hiddenSize: number; numLayers: number; maxPositions?: number }, seed: number, tokens = characters) =>
    createModel(model(name), { config: { numHeads: 2, maxPositions: 64, initializerRange: 0.3, ...config }, tokenizer: characterTokenizer(tokens), seed });
  await make('student', { hiddenSize: 8, numLayers: 1 }, 1);
  await make('teacher', { hiddenSize: 16, numLayers: 2 }, 2);
  await make('short', { hiddenSize: 16, numLayers: 1, maxPositions: 8 }, 3);
  await make('wider', { hiddenSize: 16, numLayers: 1 }, 3, `${characters}n`);
  await make('other', { hiddenSize: 16, numLayers: 1 }, 3, 'nbcdefghijklm');
});
afterEach(async () => {
  await Promise.all(open_.splice(0).map((engine) => engine.close()));
});
afterAll(async () => rm(dir, { recursive: true, force: true }));

async function open(options: Partial<EngineOptions> = {}): Promise<Engine> {
  const engine = await openEngine({ model: model('student'), teacher: model('teacher'), backend: testBackend(), inline: true, ...options });
  open_.push(engine);
  return engine;
}

const batch = groupBatch({ prompts: 1, samples: 3, vocabSize: characters.length });

/** Mean divergence of the actions. */
function divergence(options: { coupling?: Coupling; outputOptions?: OutputOptions } = {}): Objective {
  const { coupling = 'token', outputOptions } = options;
  return defineObjective({
    name: 'divergence',
    needs: ['teacherDivergence'],
    outputOptions,
    coupling,
    evaluate: ({ teacherDivergence }, { normalizer }) => ({
      loss: teacherDivergence!.reduce((a, b) => a + b, 0) / normalizer.tokens,
      grads: { teacherDivergence: new Float32Array(teacherDivergence!.length).fill(1 / normalizer.tokens) },
      metrics: {},
    }),
  });
}

const sequence = Int32Array.of(3, 7, 1, 9, 2, 5);
const four: TokenBatch = { tokens: sequence, offsets: Int32Array.of(0, 6), actionIndex: Int32Array.of(1, 2, 4, 5), columns: {}, normalizer: { tokens: 4, sequences: 1 } };

/** Log-probs of every token of the vocabulary at the actions of `four`, from an engine's own `logps`. [A][V] */
async function distributions(engine: Engine, temperature: number): Promise<number[][]> {
  const vocabSize = engine.info.config.vocabSize;
  const contexts = Array.from(four.actionIndex, (t) => [...sequence.subarray(0, t)]);
  const sequences = contexts.flatMap((context) => Array.from({ length: vocabSize }, (_, v) => [...context, v]));
  const offsets = Int32Array.from([0, ...sequences.map((_, i) => sequences.slice(0, i + 1).flat().length)]);
  const all: TokenBatch = { tokens: Int32Array.from(sequences.flat()), offsets, actionIndex: offsets.slice(1).map((end) => end - 1), columns: {}, normalizer: { tokens: 1, sequences: 1 } };
  const { logps } = await engine.learner.forward(all, ['logps'], { temperature });
  return contexts.map((_, a) => [...logps!.subarray(a * vocabSize, (a + 1) * vocabSize)]);
}

describe('an engine with a teacher', () => {
  it('gives the divergence between the two models, at the beta and the temperature that are asked for', async () => {
    const engine = await open();
    const alone = await open({ model: model('teacher'), teacher: undefined });
    for (const [beta, temperature] of [[0, 1], [0.3, 0.7], [1, 1]]) {
      const [student, teacher] = [await distributions(engine, temperature), await distributions(alone, temperature)];
      const { teacherDivergence } = await engine.learner.forward(four, ['teacherDivergence'], { temperature, outputOptions: { teacherDivergence: { beta } } });
      student.forEach((p, a) => {
        const q = teacher[a];
        const m = p.map((logP, v) => (beta === 0 ? logP : beta === 1 ? q[v] : Math.log((1 - beta) * Math.exp(logP) + beta * Math.exp(q[v]))));
        const kl = (x: number[]) => x.reduce((sum, logX, v) => sum + Math.exp(logX) * (logX - m[v]), 0);
        expect(teacherDivergence![a]).toBeCloseTo(beta === 0 ? kl(q) : beta === 1 ? kl(p) : beta * kl(q) + (1 - beta) * kl(p), 4);
      });
    }
    const { teacherDivergence } = await engine.learner.forward(four, ['teacherDivergence'], { temperature: 3, outputOptions: { teacherDivergence: { temperature: 0.7, beta: 0.3 } } });
    const { teacherDivergence: same } = await engine.learner.forward(four, ['teacherDivergence'], { temperature: 0.7, outputOptions: { teacherDivergence: { beta: 0.3 } } });
    expect(teacherDivergence).toEqual(same);
  });

  it('learns from it: the divergence falls, whatever is held together, and the teacher stays as it is', async () => {
    const losses = async (coupling: Coupling, options: Partial<EngineOptions> = {}) => {
      const engine = await open(options);
      const objective = divergence({ coupling, outputOptions: { teacherDivergence: { beta: 0.5 } } });
      const said = async () => {
        const tokens: number[] = [];
        for await (const completion of engine.generate([{ id: 'a', prompt: Int32Array.of(1, 2), seed: 1 }], { teacher: true })) tokens.push(...completion.tokens);
        return tokens;
      };
      const before = await said();
      const list: number[] = [];
      for (let step = 0; step < 8; step++) {
        list.push((await engine.learner.forwardBackward(batch, objective)).loss);
        await engine.learner.optimStep({ learningRate: 3e-2 });
      }
      expect(await said()).toEqual(before);
      return list;
    };
    const whole = await losses('token');
    expect(whole[7]).toBeLessThan(0.7 * whole[0]);
    for (const list of [await losses('token', { maxTokensPerMicroBatch: 16 }), await losses('batch', { maxTokensPerMicroBatch: 16 }), await losses('token', { gradientCheckpointing: true })]) {
      whole.forEach((loss, i) => expect(list[i]).toBeCloseTo(loss, 4));
    }
  });

  it('is 0 of itself, and its own gradient is 0 there', async () => {
    const engine = await open({ teacher: model('student') });
    for (const beta of [0, 0.5, 1]) {
      const { loss } = await engine.learner.forwardBackward(batch, divergence({ outputOptions: { teacherDivergence: { beta } } }));
      expect(loss).toBeCloseTo(0, 5);
    }
    expect((await engine.learner.optimStep({ learningRate: 0 })).grad_norm).toBeLessThan(1e-5);
  });

  it('samples from the teacher too, as the teacher alone would', async () => {
    const requests = [{ id: 'a', prompt: Int32Array.of(1, 2, 3), n: 3, seed: 5, sampling: { maxNewTokens: 8 } }];
    const engine = await open();
    const alone = await open({ model: model('teacher'), teacher: undefined });
    const expected = await generateAll(alone, requests);
    const found: Int32Array[] = [];
    for await (const { index, tokens } of engine.generate(requests, { teacher: true })) found[index] = tokens;
    found.forEach((tokens, k) => expect(tokens).toEqual(expected.get(`a/${k}`)!.tokens));
    await expect(async () => { for await (const _ of alone.generate(requests, { teacher: true })); }).rejects.toMatchObject({ code: 'unsupported' });
  });

  it('leaves no tensor behind', async () => {
    const engine = await open();
    const counts: number[] = [];
    for (let step = 0; step < 4; step++) {
      await engine.learner.forward(batch, ['teacherDivergence', 'logps']);
      await engine.learner.forwardBackward(batch, divergence());
      await engine.learner.optimStep({ learningRate: 1e-3 });
      for await (const _ of engine.generate([{ id: 'a', prompt: Int32Array.of(1, 2), seed: 1 }], { teacher: true }));
      counts.push((await engine.memory()).numTensors);
    }
    expect(counts.slice(1)).toEqual(new Array(3).fill(counts[1]));
  });

  it('refuses what cannot be', async () => {
    await expect(open({ teacher: model('wider') })).rejects.toMatchObject({ code: 'bad_config', message: expect.stringMatching(/another vocabulary.*entries and not/) as string });
    await expect(open({ teacher: model('other') })).rejects.toMatchObject({ code: 'bad_config', message: expect.stringMatching(/token \d+ is "n" there and "a" here/) as string });
    await expect(open({ teacher: model('nowhere') })).rejects.toMatchObject({ code: 'not_found' });
    const without = await open({ teacher: undefined });
    await expect(without.learner.forward(batch, ['teacherDivergence'])).rejects.toMatchObject({ code: 'unsupported', message: expect.stringMatching(/openEngine\(\{ teacher \}\)/) as string });
    const short = await open({ teacher: model('short') });
    await expect(short.learner.forward(batch, ['teacherDivergence'])).rejects.toMatchObject({ code: 'bad_data', message: expect.stringMatching(/8 positions/) as string });
    await expect((await open()).learner.forward(batch, ['teacherDivergence'], { outputOptions: { teacherDivergence: { beta: 2 } } })).rejects.toMatchObject({ code: 'bad_config' });
  });
});

describe('gradientCheckpointing', () => {
  it('trains to the same bytes', async () => {
    const run = async (gradientCheckpointing: boolean) => {
      const engine = await open({ model: fixture('llama'), teacher: undefined, gradientCheckpointing });
      const groups = groupBatch({ prompts: 2, samples: 3 });
      for (let step = 0; step < 3; step++) {
        await engine.learner.forwardBackward(groups, nll);
        await engine.learner.optimStep({ learningRate: 1e-2 });
      }
      const found = { digest: (await engine.learner.publish()).digest, tensors: (await engine.memory()).numTensors };
      await engine.close();
      return found;
    };
    expect(await run(true)).toEqual(await run(false));
  });
});

const nll = defineObjective({
  name: 'nll',
  needs: ['logps'],
  coupling: 'token',
  evaluate: ({ logps }, { normalizer }) => ({ loss: -logps!.reduce((a, b) => a + b, 0) / normalizer.tokens, grads: { logps: new Float32Array(logps!.length).fill(-1 / normalizer.tokens) }, metrics: {} }),
});
