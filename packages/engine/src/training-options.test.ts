import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { OptimOptions, TokenBatch } from '@espalier/spec';
import { createDecoder, freezeLayers, openCheckpoint, openSafetensors, parseConfig, randomWeights } from '@espalier/models';
import { memory, selectBackend } from '@espalier/tensor';
import { testBackend } from '@espalier/tensor/testing';
import { drawNoise, noiseOf } from './embedding-noise';
import { openEngine, type Engine, type EngineOptions } from './engine';
import { microBatches } from './micro-batch';
import { stepSettings } from './parameter-groups';
import { assign } from './reference-file';
import { fixture, groupBatch, weightedNll } from './test-support';
import { Training } from './training';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'espalier-options-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const made = (name: string) => {
  const path = join(folder, name);
  mkdirSync(path, { recursive: true });
  return path;
};
const open = (options: Partial<EngineOptions> = {}) => openEngine({ model: fixture('llama'), inline: true, backend: testBackend(), ...options });
const batch = groupBatch({ prompts: 2, samples: 2 });

async function step(engine: Engine, options: Partial<OptimOptions> = {}, noise: { neftuneNoiseAlpha?: number; seed?: number } = {}): Promise<number> {
  const { loss } = await engine.learner.forwardBackward(batch, weightedNll(), noise);
  await engine.learner.optimStep({ learningRate: 1e-2, weightDecay: 0.1, ...options });
  return loss;
}

const logpsOf = async (engine: Engine, reference = false) => (await engine.learner.forward(batch, ['logps'], { reference })).logps!;

/** The weights of a saved folder, by name. */
async function weightsOf(engine: Engine, name: string): Promise<Map<string, Float32Array>> {
  const path = made(name);
  await engine.save(path);
  const checkpoint = await openCheckpoint(path);
  const all = new Map([...checkpoint.tensors.keys()].map((tensor) => [tensor, checkpoint.read(tensor)]));
  checkpoint.close();
  return all;
}

async function firstWeights(): Promise<Map<string, Float32Array>> {
  const checkpoint = await openCheckpoint(fixture('llama'));
  const all = new Map([...checkpoint.tensors.keys()].map((tensor) => [tensor, checkpoint.read(tensor)]));
  checkpoint.close();
  return all;
}

describe('parameter groups', () => {
  it('take the first that matches, and leave vectors undecayed', () => {
    const names = ['model.layers.0.mlp.up_proj.weight', 'model.norm.weight', 'score.weight'];
    const groups = [{ match: '^score', learningRateScale: 10, weightDecay: 0 }, { match: 'weight$', learningRateScale: 0.5, weightDecay: 0.2 }]; // prettier-ignore
    expect(stepSettings(names, [2, 1, 2], { learningRate: 2, weightDecay: 0.1, groups })).toEqual([
      { learningRate: 1, weightDecay: 0.2 },
      { learningRate: 1, weightDecay: 0 },
      { learningRate: 20, weightDecay: 0 },
    ]);
    expect(stepSettings(names, [2, 1, 2], { learningRate: 2, weightDecay: 0.1 }).map(({ weightDecay }) => weightDecay)).toEqual([0.1, 0, 0.1]);
  });

  it.each<[object, RegExp]>([
    [{ match: '(' }, /no regular expression/],
    [{ match: 'scores' }, /matches no parameter/],
    [{ match: 'mlp', learningRateScale: -1 }, /learningRateScale is -1/],
    [{ match: 'mlp', weightDecay: NaN }, /weightDecay is NaN/],
  ])('refuse %j', (group, message) => {
    expect(() => stepSettings(['model.layers.0.mlp.up_proj.weight'], [2], { learningRate: 1, groups: [group as { match: string }] })).toThrow(message);
  });

  it('change what they match and nothing else: a scale of 0 keeps it, a scale of 1 is no group', async () => {
    const [plain, grouped] = [await open(), await open()];
    await step(plain);
    await step(grouped, { groups: [{ match: 'q_proj', learningRateScale: 0 }, { match: 'k_proj', learningRateScale: 1, weightDecay: 0.1 }] });
    const [first, a, b] = [await firstWeights(), await weightsOf(plain, 'plain'), await weightsOf(grouped, 'grouped')];
    for (const [name, values] of b) expect(values, name).toEqual(name.includes('q_proj') ? first.get(name) : a.get(name));
    await expect(step(grouped, { groups: [{ match: 'nothing' }] })).rejects.toMatchObject({ code: 'bad_config' });
    await plain.close();
    await grouped.close();
  });
});

describe('freeze', () => {
  const frozenName = (name: string) => /embed_tokens|layers\.0\./.test(name);

  it('leaves the lowest layers as they are, trains the rest exactly as without it, and keeps no state for them', async () => {
    const [plain, engine] = [await open(), await open({ freeze: { layers: 1 }, reference: true })];
    expect(engine.info.trainableCount).toBeLessThan(plain.info.trainableCount);
    const before = await logpsOf(engine);
    // The gradient of what is above does not depend on what is frozen below: the first step is the same.
    await step(plain);
    await step(engine);
    const [first, a, b] = [await firstWeights(), await weightsOf(plain, 'free'), await weightsOf(engine, 'frozen')];
    for (const [name, values] of b) expect(values, name).toEqual((frozenName(name) ? first : a).get(name));
    const path = made('frozen-checkpoint');
    await engine.learner.save(path);
    const optimizer = openSafetensors(join(path, 'optimizer.safetensors'));
    expect([...optimizer.tensors.keys()].some(frozenName)).toBe(false);
    optimizer.close();
    // The reference shares the trunk and is what the model was.
    expect(await logpsOf(engine, true)).toEqual(before);
    expect(await logpsOf(engine)).not.toEqual(before);
    await plain.close();
    await engine.close();
  });

  it('costs neither tensors nor bytes for a second trunk, and leaks nothing', async () => {
    await selectBackend(testBackend());
    const empty = memory().numTensors;
    const sizes: number[] = [];
    for (const freeze of [undefined, { layers: 2 }]) {
      const engine = await open({ freeze, reference: true });
      sizes.push((await engine.memory()).numTensors);
      await step(engine);
      await step(engine);
      const { numTensors } = await engine.memory();
      for (let i = 0; i < 3; i++) await step(engine);
      expect((await engine.memory()).numTensors).toBe(numTensors);
      await engine.close();
    }
    expect(sizes[1]).toBeLessThan(sizes[0] - 15); // two layers and the embedding, once
    expect(memory().numTensors).toBe(empty);
  });

  it('keeps nothing of the frozen layers for the backward pass', async () => {
    await selectBackend(testBackend());
    const config = parseConfig(JSON.parse(readFileSync(`${fixture('llama')}/config.json`, 'utf8')));
    const part = { ...batch, prefixOf: batch.prefixOf! };
    const held = (layers: number | null): number => {
      const decoder = createDecoder({ ...config, numLayers: 2 }, randomWeights(config, 1));
      if (layers !== null) freezeLayers(decoder, layers);
      const training = new Training(decoder, null, () => undefined);
      const before = memory().numBytes;
      const { tape } = training.tapeForward(part, ['logps'], 1);
      const bytes = memory().numBytes - before;
      training.tapeDispose(tape);
      decoder.dispose();
      return bytes;
    };
    const [all, one, none] = [held(null), held(1), held(2)];
    expect(none).toBeLessThan(one);
    expect(all - one).toBeGreaterThan(0.8 * (one - none)); // each frozen layer spares as much
  });

  it('freezes a tied head with the embedding, trains with a scalar head, works on gpt2 and under checkpointing', async () => {
    for (const options of [{ model: fixture('smollm2') }, { model: fixture('gpt2'), gradientCheckpointing: true }]) {
      const engine = await open({ ...options, scalarHead: true, freeze: { layers: 1 } });
      const before = await logpsOf(engine);
      await step(engine);
      expect(await logpsOf(engine)).not.toEqual(before);
      await engine.close();
    }
  });

  it.each<[Partial<EngineOptions>, RegExp]>([
    [{ freeze: { layers: 3 } }, /freeze\.layers is 3/],
    [{ freeze: { layers: -1 } }, /freeze\.layers is -1/],
    [{ freeze: { layers: 1 }, lora: {} }, /beside LoRA/],
    [{ ema: { decay: 1 } }, /ema\.decay is 1/],
  ])('and other options are refused when they make no sense: %j', async (options, message) => {
    await expect(open(options)).rejects.toMatchObject({ code: 'bad_config', message: expect.stringMatching(message) });
  });
});

describe('the reference', () => {
  it('moves towards the weights, by the share that is asked for', async () => {
    const engine = await open({ reference: true });
    const before = await logpsOf(engine, true);
    await step(engine);
    await engine.learner.mixReference!(0);
    expect(await logpsOf(engine, true)).toEqual(before);
    await engine.learner.mixReference!(1);
    expect(await logpsOf(engine, true)).toEqual(await logpsOf(engine));
    await engine.close();
  });

  it('is 0.6 · θ + 0.4 · ref, number by number, whether or not the trunk is shared', async () => {
    for (const freeze of [undefined, { layers: 1 }]) {
      const engine = await open({ reference: true, freeze });
      await step(engine);
      await engine.learner.mixReference!(0.6);
      const path = made(`mixed-${freeze?.layers}`);
      await engine.learner.save(path);
      const [first, now] = [await firstWeights(), await weightsOf(engine, `now-${freeze?.layers}`)];
      const stored = openSafetensors(join(path, 'reference.safetensors'));
      expect([...stored.tensors.keys()].length).toBe([...now.keys()].filter((name) => !freeze || !/embed_tokens|layers\.0\./.test(name)).length);
      for (const name of stored.tensors.keys()) stored.read(name).forEach((value, i) => expect(value).toBeCloseTo(0.6 * now.get(name)![i] + 0.4 * first.get(name)![i], 6));
      stored.close();
      await engine.close();
    }
  });

  it('comes back with the checkpoint that it was saved with, and as it was first from one before', async () => {
    const engine = await open({ reference: true });
    const first = await logpsOf(engine, true);
    const [early, late] = [made('early'), made('late')];
    await engine.learner.save(early);
    await step(engine);
    await engine.learner.mixReference!(0.5);
    const mixed = await logpsOf(engine, true);
    await engine.learner.save(late);
    const again = await open({ reference: true });
    await again.learner.load(late);
    expect(await logpsOf(again, true)).toEqual(mixed);
    await engine.learner.load(early);
    expect(await logpsOf(engine, true)).toEqual(first);
    await again.close();
    await engine.close();
  });

  it('cannot move where there is none of its own', async () => {
    const [bare, lora] = [await open(), await open({ lora: {} })];
    await expect(bare.learner.mixReference!(0.5)).rejects.toMatchObject({ code: 'unsupported' });
    await expect(lora.learner.mixReference!(0.5)).rejects.toMatchObject({ code: 'unsupported', message: expect.stringMatching(/LoRA/) as string });
    const engine = await open({ reference: true });
    await expect(engine.learner.mixReference!(1.5)).rejects.toMatchObject({ code: 'bad_config' });
    for (const opened of [bare, lora, engine]) await opened.close();
  });
});

describe('the average of the weights', () => {
  const decay = 0.75;

  it('is decay · ema + (1 - decay) · θ after every step', async () => {
    const engine = await open({ ema: { decay } });
    const wanted = await firstWeights();
    for (let i = 0; i < 3; i++) {
      await step(engine);
      for (const [name, values] of await weightsOf(engine, 'theta')) wanted.get(name)!.forEach((value, j, all) => (all[j] = decay * value + (1 - decay) * values[j]));
    }
    const theta = await weightsOf(engine, 'theta');
    const version = (await engine.learner.publish()).version;
    await engine.useEma(true);
    expect((await engine.learner.publish()).version).toBeGreaterThan(version);
    for (const [name, values] of await weightsOf(engine, 'average')) values.forEach((value, i) => expect(value, name).toBeCloseTo(wanted.get(name)![i], 6));
    await expect(step(engine)).rejects.toMatchObject({ code: 'usage' });
    await engine.useEma(false);
    expect(await weightsOf(engine, 'theta')).toEqual(theta);
    await step(engine);
    await engine.close();
  });

  it.each([[testBackend(), 'fp32'], ['native', 'fp32'], ['native', 'bf16']] as const)('goes on to the same bytes from a checkpoint, in use or not, and leaks nothing: %s, %s', async (backend, precision) => { // prettier-ignore
    try {
      await selectBackend(backend);
    } catch {
      return console.warn(`the backend ${backend} is not here: its average is not tested`);
    }
    for (const lora of [undefined, { rank: 2 }]) {
      const options = { backend, ema: { decay }, lora, precision };
      const engine = await open(options);
      await step(engine);
      await step(engine);
      const { numTensors } = await engine.memory();
      await step(engine);
      await step(engine);
      expect((await engine.memory()).numTensors).toBe(numTensors);
      await engine.useEma(true);
      const averaged = await logpsOf(engine);
      const path = made(`ema-${backend}-${precision}-${lora?.rank}`);
      await engine.learner.save(path); // the weights, though the average is in use
      const again = await open(options);
      await again.learner.load(path);
      await engine.useEma(false);
      expect(await logpsOf(again)).toEqual(await logpsOf(engine));
      expect(await step(again)).toBe(await step(engine));
      await again.learner.load(path);
      await again.useEma(true);
      expect(await logpsOf(again)).toEqual(averaged);
      if (!lora) {
        // The average is a model of its own: a folder with it gives the same numbers.
        const exported = made(`average-${backend}-${precision}`);
        await again.save(exported);
        const opened = await open({ model: exported, backend, precision });
        expect(await logpsOf(opened)).toEqual(averaged);
        await opened.close();
      }
      await engine.close();
      await again.close();
    }
  });

  it('starts at the weights of a checkpoint that has none, and is refused where there is none', async () => {
    const plain = await open();
    await step(plain);
    const path = made('without');
    await plain.learner.save(path);
    await expect(plain.useEma(true)).rejects.toMatchObject({ code: 'unsupported' });
    const engine = await open({ ema: { decay } });
    await engine.learner.load(path);
    const weights = await logpsOf(engine);
    await engine.useEma(true);
    expect(await logpsOf(engine)).toEqual(weights);
    await plain.close();
    await engine.close();
  });
});

describe('the noise on embeddings', () => {
  const noiseFor = (of: TokenBatch, budget: number, seed = 3) => {
    const rows = new Map<string, Float32Array>();
    for (const micro of microBatches(of, 'sequence', budget)) {
      const noise = noiseOf(of, micro, { neftuneNoiseAlpha: 5, seed })!;
      const drawn = drawNoise(micro.part, 8, noise);
      micro.sequences.forEach((s, i) => rows.set(`${s}`, drawn.slice(micro.part.offsets[i] * 8, micro.part.offsets[i + 1] * 8)));
    }
    return rows;
  };

  it('is uniform in ±alpha / sqrt(length · width), the same however a batch is cut', () => {
    const of = groupBatch({ prompts: 2, samples: 3, promptLength: 40, sampleLength: 30 });
    const whole = noiseFor(of, 10_000);
    expect(noiseFor(of, 1)).toEqual(whole);
    expect(noiseFor(of, 10_000, 4)).not.toEqual(whole);
    for (const [s, values] of whole) {
      const i = Number(s);
      const own = (n: number) => of.offsets[n + 1] - of.offsets[n];
      const prefix = of.prefixOf![i];
      const length = prefix >= 0 ? own(i) + own(prefix) : own(i) + Math.max(...[...of.prefixOf!.keys()].filter((n) => of.prefixOf![n] === i).map(own));
      const bound = 5 / Math.sqrt(length * 8);
      const most = values.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
      expect(most).toBeLessThanOrEqual(bound);
      expect(most).toBeGreaterThan(0.97 * bound);
      expect(Math.abs(values.reduce((a, b) => a + b, 0) / values.length)).toBeLessThan((4 * bound) / Math.sqrt(3 * values.length));
    }
  });

  it('changes training and nothing else, and is the same again for the same seed', async () => {
    const [a, b, c] = [await open(), await open({ maxTokensPerMicroBatch: 8 }), await open()];
    const clean = await logpsOf(a);
    const plain = (await c.learner.forwardBackward(batch, weightedNll())).loss;
    const noisy = (await a.learner.forwardBackward(batch, weightedNll(), { neftuneNoiseAlpha: 5, seed: 1 })).loss;
    expect(Math.abs(noisy - plain)).toBeGreaterThan(1e-4);
    expect((await b.learner.forwardBackward(batch, weightedNll(), { neftuneNoiseAlpha: 5, seed: 1 })).loss).toBeCloseTo(noisy, 5);
    expect((await b.learner.forwardBackward(batch, weightedNll(), { neftuneNoiseAlpha: 5, seed: 2 })).loss).not.toBeCloseTo(noisy, 5);
    expect((await c.learner.forwardBackward(batch, weightedNll(), { neftuneNoiseAlpha: 0 })).loss).toBe(plain);
    expect(await logpsOf(a)).toEqual(clean);
    // One objective over everything computes its outputs twice: with the same noise.
    const whole = (await b.learner.forwardBackward(batch, weightedNll('batch'), { neftuneNoiseAlpha: 5, seed: 1 })).loss;
    expect(whole).toBeCloseTo(noisy, 5);
    await expect(a.learner.forwardBackward(batch, weightedNll(), { neftuneNoiseAlpha: 5 })).rejects.toMatchObject({ code: 'bad_config', message: expect.stringMatching(/seed/) as string });
    await expect(a.learner.forwardBackward(batch, weightedNll(), { neftuneNoiseAlpha: -1, seed: 1 })).rejects.toMatchObject({ code: 'bad_config' });
    for (const opened of [a, b, c]) await opened.close();
  });

  it.each(['llama', 'gpt2'])('has the gradient of the noisy loss: %s', async (model) => {
    await selectBackend(testBackend());
    const config = parseConfig(JSON.parse(readFileSync(`${fixture(model)}/config.json`, 'utf8')));
    const decoder = createDecoder({ ...config, initializerRange: 0.2 }, randomWeights({ ...config, initializerRange: 0.2 }, 1));
    const training = new Training(decoder, null, () => undefined);
    const small = groupBatch({ prompts: 1, samples: 2 });
    const [micro] = microBatches(small, 'sequence', 10_000);
    const noise = noiseOf(small, micro, { neftuneNoiseAlpha: 5, seed: 1 })!;
    const sum = (values: Float32Array) => values.reduce((a, b) => a + b, 0);
    const lossAt = () => sum(training.forward({ part: micro.part, needs: ['logps'], temperature: 1, reference: false, noise }).logps!);
    const { tape } = training.tapeForward(micro.part, ['logps'], 1, undefined, noise);
    training.tapeBackward(tape, { logps: new Float32Array(micro.part.actionIndex.length).fill(1) });
    const [name] = [...decoder.parameters.keys()].filter((parameter) => /embed_tokens|wte/.test(parameter));
    const gradient = Float32Array.from(training.gradients.get(name)!.dataSync());
    const length = Math.sqrt(gradient.reduce((s, g) => s + g * g, 0));
    const parameter = decoder.parameters.get(name)!;
    const start = Float32Array.from(parameter.dataSync());
    const at = (t: number) => {
      assign(decoder, name, start.map((value, i) => value + (t * gradient[i]) / length));
      return lossAt();
    };
    expect((at(0.01) - at(-0.01)) / 0.02 / length).toBeCloseTo(1, 2);
    training.resetOptimizer();
    decoder.dispose();
  });
});
