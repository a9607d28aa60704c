import { existsSync } from 'node:fs';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import type { TokenBatch } from '@espalier/spec';
import { probeBackends } from '@espalier/tensor';
import { testBackend } from '@espalier/tensor/testing';
import { openEngine, type Engine, type EngineOptions } from './engine';
import { fixture, generateAll, groupBatch, weightedNll } from './test-support';

const opened: Engine[] = [];
async function open(options: Partial<EngineOptions> = {}): Promise<Engine> {
  const engine = await openEngine({ model: fixture('smollm2'), backend: testBackend(), inline: true, ...options });
  opened.push(engine);
  return engine;
}
afterEach(async () => {
  for (const engine of opened.splice(0)) await engine.close();
});

const folders: string[] = [];
async function folder(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'espalier-engine-'));
  folders.push(dir);
  return dir;
}
afterAll(async () => {
  for (const dir of folders) await rm(dir, { recursive: true, force: true });
});

const native = (await probeBackends()).some(({ name, available }) => name === 'native' && available);
const batch = groupBatch({ prompts: 2, samples: 3 });
const optimizer = { learningRate: 1e-2, maxGradNorm: 1, weightDecay: 0.1 };

async function train(engine: Engine, steps: number, batches: (step: number) => TokenBatch = () => batch) {
  const losses: number[] = [];
  for (let step = 0; step < steps; step++) {
    losses.push((await engine.learner.forwardBackward(batches(step), weightedNll('sequence'))).loss);
    await engine.learner.optimStep(optimizer);
  }
  return losses;
}

const allWeights = async (engine: Engine) => {
  const dir = await folder();
  await engine.learner.save(dir);
  return { dir, weights: await readFile(join(dir, 'model.safetensors')), optimizer: await readFile(join(dir, 'optimizer.safetensors')) };
};

describe('openEngine', () => {
  it('loads a folder and says what it is', async () => {
    const engine = await open();
    expect(engine.info).toMatchObject({ backend: testBackend(), maxPositions: 96, eosTokenIds: [2] });
    expect(engine.info.parameterCount).toBeGreaterThan(1000);
    expect(engine.info.trainableCount).toBe(engine.info.parameterCount);
    expect(engine.learner.capabilities).toMatchObject({ outputs: ['logps', 'entropy', 'sumSquares'], sharedPrefixes: true, backend: testBackend() });
  });

  it('scores as transformers does', async () => {
    const engine = await open();
    const { inputs, logps } = JSON.parse(await readFile(join(fixture('smollm2'), 'expected.json'), 'utf8')) as { inputs: number[][]; logps: number[][] };
    const scored = await engine.score(inputs.map((tokens) => Int32Array.from(tokens)));
    scored.forEach((row, s) => {
      expect(row[0]).toBeNaN();
      logps[s].forEach((logp, t) => expect(Math.abs(row[t + 1] - logp)).toBeLessThan(1e-4));
    });
  });

  it.runIf(native)('scores in fp32 where training and sampling compute in bf16', async () => {
    const [coarse, exact] = [await open({ backend: 'native', precision: 'bf16' }), await open({ backend: 'native', precision: 'bf16' })];
    const sequences = [Int32Array.of(5, 6, 7, 8, 9, 10)];
    const needed = { tokens: sequences[0], offsets: Int32Array.of(0, 6), actionIndex: Int32Array.of(1, 2, 3, 4, 5), columns: {}, normalizer: { tokens: 5, sequences: 1 } };
    const [scored] = await exact.score(sequences);
    const { logps } = await coarse.learner.forward(needed, ['logps']);
    await coarse.close();
    await exact.close();
    const [expected] = await (await open({ backend: 'native', precision: 'fp32' })).score(sequences);
    expect(scored).toEqual(expected);
    expect(logps).not.toEqual(expected.subarray(1));
  });

  it.runIf(native).each(['bf16', 'fp32'] as const)('samples with the log-probs that training computes, over several tiles of attention: %s', async (precision) => {
    const engine = await open({ backend: 'native', precision });
    const prompt = Int32Array.from({ length: 50 }, (_, t) => 3 + ((t * 7) % 50));
    const differences: number[] = [];
    for (const [, { tokens, logps }] of await generateAll(engine, [{ id: 'a', prompt, n: 3, seed: 5, sampling: { maxNewTokens: 40, ignoreEos: true } }])) {
      const whole = Int32Array.from([...prompt, ...tokens]);
      const actionIndex = Int32Array.from(tokens, (_, t) => prompt.length + t);
      const trained = await engine.learner.forward({ tokens: whole, offsets: Int32Array.of(0, whole.length), actionIndex, columns: {}, normalizer: { tokens: tokens.length, sequences: 1 } }, ['logps']);
      tokens.forEach((_, t) => differences.push(Math.abs(logps![t] - trained.logps![t])));
    }
    expect(differences).toHaveLength(120);
    expect(Math.max(...differences)).toBeLessThan(1e-5);
  });

  it('names a model that is not there', async () => {
    await expect(openEngine({ model: join(fixture('smollm2'), 'nowhere'), backend: testBackend(), inline: true })).rejects.toMatchObject({ code: 'not_found' });
  });

  it('names an option that makes no sense', async () => {
    await expect(openEngine({ model: fixture('smollm2'), maxTokensPerMicroBatch: 0.5 })).rejects.toMatchObject({ code: 'bad_config', message: expect.stringContaining('maxTokensPerMicroBatch is 0.5') });
  });

  it('names a backend that is not there', async () => {
    await expect(openEngine({ model: fixture('smollm2'), backend: 'abacus', inline: true })).rejects.toMatchObject({ code: 'usage' });
  });
});

describe('generation', () => {
  it('samples with the weights that the learner trains, at their version', async () => {
    const engine = await open();
    const requests = [{ id: 'a', prompt: Int32Array.of(5, 6, 7), seed: 1, n: 4, sampling: { maxNewTokens: 12, ignoreEos: true } }];
    const before = await generateAll(engine, requests);
    await train(engine, 2);
    const { version } = await engine.learner.publish();
    const after = await generateAll(engine, requests);
    expect([...before.values()].every((completion) => completion.version === 0)).toBe(true);
    expect([...after.values()].every((completion) => completion.version === version)).toBe(true);
    expect([...after.values()].map(({ tokens }) => [...tokens])).not.toEqual([...before.values()].map(({ tokens }) => [...tokens]));
    for (const { tokens, logps } of after.values()) {
      const [scored] = await engine.score([Int32Array.from([5, 6, 7, ...tokens])]);
      logps!.forEach((logp, t) => expect(Math.abs(logp - scored[3 + t])).toBeLessThan(1e-4));
    }
  });

  it('aborts when the signal fires: every sample comes back, and the iteration ends', async () => {
    const engine = await open();
    const controller = new AbortController();
    const requests = Array.from({ length: 5 }, (_, i) => ({ id: `${i}`, prompt: Int32Array.of(5, 6), seed: i, n: 2, sampling: { maxNewTokens: i === 0 ? 2 : 90, ignoreEos: true } }));
    const reasons: string[] = [];
    for await (const { finishReason } of engine.generate(requests, { signal: controller.signal })) {
      reasons.push(finishReason);
      controller.abort();
    }
    expect(reasons).toHaveLength(10);
    expect(reasons.filter((reason) => reason === 'aborted').length).toBeGreaterThanOrEqual(8);
  });

  it('stops what is left when the loop is left early', async () => {
    const engine = await open();
    const idle = (await engine.memory()).numTensors;
    const requests = [1, 90].map((maxNewTokens, i) => ({ id: `${i}`, prompt: Int32Array.of(5, 6), seed: i, sampling: { maxNewTokens, ignoreEos: true } }));
    for await (const _ of engine.generate(requests)) break;
    await engine.learner.forwardBackward(batch, weightedNll());
    await engine.learner.optimStep(optimizer); // waits until nothing is under way
    const trained = (await engine.memory()).numTensors;
    expect(trained).toBe(idle + 2 * engine.info.config.numLayers * 9 + 2 * 2); // two moments a parameter, and no cache
  });

  it('refuses a request before anything is computed', async () => {
    const engine = await open();
    await expect(generateAll(engine, [{ id: 'a', prompt: Int32Array.of(1), seed: 1, sampling: { maxNewTokens: 96 } }])).rejects.toMatchObject({ code: 'bad_data' });
    expect((await generateAll(engine, [{ id: 'a', prompt: Int32Array.of(1), seed: 1 }])).size).toBe(1);
  });
});

describe('training', () => {
  it('lowers the loss, reports the norm of the gradient before clipping, and refuses a step without one', async () => {
    const engine = await open();
    await expect(engine.learner.optimStep(optimizer)).rejects.toMatchObject({ code: 'usage' });
    const losses = await train(engine, 6);
    expect(losses.at(-1)).toBeLessThan(losses[0]);
    await engine.learner.forwardBackward(batch, weightedNll());
    const { grad_norm } = await engine.learner.optimStep({ learningRate: 0, maxGradNorm: 1e-3 });
    expect(grad_norm).toBeGreaterThan(1e-3);
  });

  it('refuses a gradient that is not finite and leaves the weights alone', async () => {
    const engine = await open();
    const before = await engine.score([Int32Array.of(5, 6, 7, 8)]);
    const huge = weightedNll();
    await engine.learner.forwardBackward(batch, { ...huge, evaluate: (outputs, seen) => ({ loss: 1, grads: { logps: outputs.logps!.map(() => 3e38) }, metrics: {}, seen }) });
    await expect(engine.learner.optimStep(optimizer)).rejects.toMatchObject({ code: 'bad_data', message: expect.stringContaining('optimiser step 1') });
    expect(await engine.score([Int32Array.of(5, 6, 7, 8)])).toEqual(before);
    await train(engine, 1);
  });

  it('resumes to the byte', async () => {
    const draw = (step: number) => groupBatch({ prompts: 1, samples: 3, seed: step + 1 });
    const straight = await open();
    await train(straight, 3, draw);
    const middle = await allWeights(straight);
    await train(straight, 3, (step) => draw(step + 3));
    const end = await allWeights(straight);

    const resumed = await open();
    await train(resumed, 1); // what was there before is gone after load
    await resumed.learner.load(middle.dir);
    await train(resumed, 3, (step) => draw(step + 3));
    const again = await allWeights(resumed);
    expect(again.weights.equals(end.weights)).toBe(true);
    expect(again.optimizer.equals(end.optimizer)).toBe(true);
    expect((await resumed.learner.publish()).digest).toBe((await straight.learner.publish()).digest);
  });

  it('refuses the optimiser state of another model', async () => {
    const engine = await open();
    await train(engine, 1);
    const { dir } = await allWeights(engine);
    const other = await folder();
    await cp(fixture('llama'), other, { recursive: true });
    await cp(join(dir, 'optimizer.safetensors'), join(other, 'optimizer.safetensors'));
    const llama = await open({ model: fixture('llama') });
    await expect(llama.learner.load(other)).rejects.toMatchObject({ code: 'bad_checkpoint' });
    await expect(engine.learner.load(fixture('gpt2'))).rejects.toMatchObject({ code: 'bad_checkpoint' });
    await writeFile(join(dir, 'optimizer.safetensors'), 'short');
    await expect(engine.learner.load(dir)).rejects.toMatchObject({ code: 'bad_checkpoint' });
  });

  it('leaks nothing: as many tensors after step 50 as after step 2', async () => {
    const engine = await open({ maxTokensPerMicroBatch: 1 }); // every sample a part: gradients are added up
    const small = groupBatch({ prompts: 1, samples: 2, promptLength: 3, sampleLength: 2 });
    const step = async () => {
      await engine.learner.forwardBackward(small, weightedNll());
      await engine.learner.optimStep(optimizer);
      await generateAll(engine, [{ id: 'a', prompt: Int32Array.of(5, 6), seed: 1, n: 2, sampling: { maxNewTokens: 2 } }]);
      await engine.learner.forward(small, ['logps', 'entropy']);
    };
    for (let i = 0; i < 2; i++) await step();
    const early = (await engine.memory()).numTensors;
    for (let i = 2; i < 50; i++) await step();
    expect((await engine.memory()).numTensors).toBe(early);
  });
});

describe('the reference', () => {
  it('stays where training began', async () => {
    const engine = await open({ reference: true });
    const before = (await engine.learner.forward(batch, ['logps'])).logps!;
    await train(engine, 2);
    expect((await engine.learner.forward(batch, ['logps'], { reference: true })).logps).toEqual(before);
    expect((await engine.learner.forward(batch, ['logps'])).logps).not.toEqual(before);
  });

  it('is refused where none was kept', async () => {
    const engine = await open();
    await expect(engine.learner.forward(batch, ['logps'], { reference: true })).rejects.toMatchObject({ code: 'unsupported', fix: expect.stringContaining('reference: true') });
  });

  it('is the adapter switched off with LoRA, which alone trains; it resumes to the byte', async () => {
    const lora = { rank: 2, alpha: 4, targets: ['q_proj', 'down_proj'] };
    const engine = await open({ lora });
    expect(engine.info.trainableCount).toBeLessThan(engine.info.parameterCount / 5);
    const before = (await engine.learner.forward(batch, ['logps'])).logps!;
    await train(engine, 2);
    expect((await engine.learner.forward(batch, ['logps'], { reference: true })).logps).toEqual(before);
    const trained = (await engine.learner.forward(batch, ['logps'])).logps!;
    expect(trained).not.toEqual(before);

    const dir = await folder();
    await engine.learner.save(dir);
    const resumed = await open({ lora, seed: 9 });
    await resumed.learner.load(dir);
    expect((await resumed.learner.forward(batch, ['logps'])).logps).toEqual(trained);
    expect(await train(resumed, 2)).toEqual(await train(engine, 2));

    const merged = await folder();
    await engine.save(merged, { merge: true });
    const whole = await open({ model: merged });
    const now = (await engine.learner.forward(batch, ['logps'])).logps!;
    (await whole.learner.forward(batch, ['logps'])).logps!.forEach((logp, a) => expect(logp).toBeCloseTo(now[a], 4));
  });
});

describe('a closed engine', () => {
  it('rejects everything with `closed`, what is pending included, and may be closed again', async () => {
    const engine = await open();
    const pending = generateAll(engine, [{ id: 'a', prompt: Int32Array.of(5), seed: 1, sampling: { maxNewTokens: 90, ignoreEos: true } }]);
    const outcome = expect(pending).rejects.toMatchObject({ code: 'closed' });
    await new Promise((resolve) => setTimeout(resolve, 20));
    await engine.close();
    await outcome;
    await expect(engine.score([Int32Array.of(1, 2)])).rejects.toMatchObject({ code: 'closed' });
    await expect(generateAll(engine, [{ id: 'a', prompt: Int32Array.of(5), seed: 1 }])).rejects.toMatchObject({ code: 'closed' });
    await engine.close();
  });

  it('leaves no tensors', async () => {
    const keeper = await open();
    const before = (await keeper.memory()).numTensors;
    const engine = await open({ reference: true });
    await train(engine, 1);
    await engine.close();
    expect((await keeper.memory()).numTensors).toBe(before);
  });
});

const built = existsSync(fileURLToPath(new URL('../dist/worker.js', import.meta.url)));
describe.skipIf(!built)(`on a thread of its own${built ? '' : ' (skipped: packages/engine/dist/worker.js is not built; run `npm run build`)'}`, () => {
  it('trains, generates and scores as inline, and the event loop stays free', async () => {
    const inline = await open();
    const threaded = await open({ inline: false });
    let ticks = 0;
    const timer = setInterval(() => ticks++, 1);
    expect(await train(threaded, 2)).toEqual(await train(inline, 2));
    clearInterval(timer);
    expect(ticks).toBeGreaterThan(0);
    const requests = [{ id: 'a', prompt: Int32Array.of(5, 6, 7), seed: 1, n: 3, sampling: { maxNewTokens: 8 } }];
    const [here, there] = [await generateAll(inline, requests), await generateAll(threaded, requests)];
    for (const [name, completion] of here) expect(there.get(name)).toEqual(completion);
    const controller = new AbortController();
    const reasons: string[] = [];
    const uneven = [2, 90].map((maxNewTokens, i) => ({ id: `${i}`, prompt: Int32Array.of(5, 6), seed: 1, n: 2, sampling: { maxNewTokens, ignoreEos: true } }));
    for await (const { finishReason } of threaded.generate(uneven, { signal: controller.signal })) {
      reasons.push(finishReason);
      controller.abort();
    }
    expect(reasons.sort()).toEqual(['aborted', 'aborted', 'length', 'length']);
    await expect(threaded.learner.load(join(fixture('smollm2'), 'nowhere'))).rejects.toMatchObject({ code: 'not_found' });
    await threaded.close();
    await expect(threaded.learner.publish()).rejects.toMatchObject({ code: 'closed' });
  });
});
