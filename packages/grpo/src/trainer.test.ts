import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openEngine } from '@espalier/engine';
import { characterTokenizer, createModel } from '@espalier/models';
import { defineReward } from '@espalier/spec';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { GRPOTrainer, type GRPOTrainerOptions } from './trainer';

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'espalier-grpo-'));
  await createModel(join(dir, 'model'), { config: { hiddenSize: 16, numLayers: 2, numHeads: 2, maxPositions: 64 }, tokenizer: characterTokenizer('0123456789+= '), seed: 1 });
});
afterAll(async () => rm(dir, { recursive: true, force: true }));

const sevens = defineReward({ name: 'sevens', score: async (samples) => samples.map(({ completion }) => (completion.match(/7/g) ?? []).length) });
const rows = Array.from({ length: 12 }, (_, i) => ({ prompt: `${i}+${i}=` }));
const trainer = (name: string, args: GRPOTrainerOptions['args'] = {}, more: Partial<GRPOTrainerOptions> = {}) =>
  new GRPOTrainer({
    model: join(dir, 'model'), rewardFuncs: sevens, trainDataset: rows, inline: true,
    args: { outputDir: join(dir, name), maxSteps: 6, perDeviceTrainBatchSize: 8, numGenerations: 4, maxCompletionLength: 4, learningRate: 3e-3, loggingSteps: 2, saveSteps: 2, ...args },
    ...more,
  });
const weights = async (name: string, step: number) => (await readFile(join(dir, name, 'checkpoints', `step-${String(step).padStart(6, '0')}`, 'model.safetensors'))).toString('base64');

describe('GRPOTrainer on a small model', () => {
  it('learns what is rewarded, and logs it under TRL\'s names', async () => {
    const run = trainer('learns', { maxSteps: 30, learningRate: 1e-2, saveStrategy: 'no' }, { evalDataset: rows });
    const before = await run.evaluate({ samples: 4 });
    const { metrics } = await run.train();
    const after = await run.evaluate({ samples: 4 });
    await run.close();
    expect(after.reward).toBeGreaterThan(before.reward + 1);
    for (const name of ['reward', 'reward_std', 'frac_reward_zero_std', 'rewards/sevens/mean', 'completions/mean_length', 'completions/clipped_ratio', 'clip_ratio/region_mean', 'entropy', 'loss', 'grad_norm', 'learning_rate', 'num_tokens', 'step_time']) expect(metrics, name).toHaveProperty([name]);
  });

  it.each([
    ['a reference and several passes', { beta: 0.1, numIterations: 2, stepsPerGeneration: 2 }],
    ['sequence-level ratios', { lossType: 'grpo', importanceSamplingLevel: 'sequence', gradientAccumulationSteps: 2, perDeviceTrainBatchSize: 4 }],
  ] as const)('goes on after an interruption to the same bytes: %s', async (title, args) => {
    const name = title.replaceAll(' ', '-');
    const straight = trainer(`${name}-straight`, args);
    await straight.train();
    await straight.close();
    const controller = new AbortController();
    const first = trainer(name, args, { callbacks: [{ onStep: ({ step }) => void (step === 3 && controller.abort()) }] });
    await expect(first.train({ signal: controller.signal })).rejects.toMatchObject({ code: 'aborted' });
    await first.close();
    const second = trainer(name, args);
    await second.train({ resume: true });
    await second.close();
    expect(await weights(name, 6)).toBe(await weights(`${name}-straight`, 6));
  });

  it('measures how far a sampler in eight bits is from the learner, and corrects for it', async ({ skip }) => {
    const engine = await openEngine({ model: join(dir, 'model'), inline: true });
    const { backend } = engine.info;
    await engine.close();
    skip(backend !== 'native', 'the Rust kernels are missing');
    const metricsOf = async (name: string, modelArgs: GRPOTrainerOptions['modelArgs']) => {
      const run = trainer(name, { maxSteps: 2, saveStrategy: 'no', loggingSteps: 1 }, { modelArgs: { backend: 'native', ...modelArgs } });
      const { metrics } = await run.train();
      await run.close();
      return metrics;
    };
    const exact = await metricsOf('exact-sampler', {});
    expect(exact['sampling/sampling_logp_difference/mean']).toBeLessThan(1e-5);
    expect(exact).not.toHaveProperty(['sampling/importance_sampling_ratio/mean']);
    const rounded = await metricsOf('rounded-sampler', { samplerWeights: 'int8' });
    expect(rounded['sampling/sampling_logp_difference/mean']).toBeGreaterThan(1e-5);
    expect(rounded['sampling/sampling_logp_difference/mean']).toBeLessThan(0.1);
    expect(rounded['sampling/importance_sampling_ratio/mean']).toBeCloseTo(1, 1);
    expect(rounded['sampling/staleness/max']).toBe(0);
  });

  it('micro-batches add up: 8 × 1 is 2 × 4', async () => {
    const norms = async (name: string, perDeviceTrainBatchSize: number, gradientAccumulationSteps: number) => {
      const list: number[] = [];
      const run = trainer(name, { perDeviceTrainBatchSize, gradientAccumulationSteps, maxSteps: 2, saveStrategy: 'no' }, { callbacks: [{ onStep: (_, { grad_norm }) => void list.push(grad_norm) }] });
      await run.train();
      await run.close();
      return list;
    };
    const [whole, parts] = [await norms('whole', 8, 1), await norms('parts', 2, 4)];
    whole.forEach((value, i) => expect(parts[i]).toBeCloseTo(value, 4));
  });

  it('recomputes blocks to the same bytes, and refuses to ask that of an open engine', async () => {
    for (const gradientCheckpointing of [false, true]) {
      const run = trainer(`checkpointing-${gradientCheckpointing}`, { gradientCheckpointing, beta: 0.1, maxSteps: 4 });
      await run.train();
      await run.close();
    }
    expect(await weights('checkpointing-true', 4)).toBe(await weights('checkpointing-false', 4));
    const engine = await openEngine({ model: join(dir, 'model'), inline: true });
    await expect(trainer('checkpointing-open', { gradientCheckpointing: true }, { model: engine }).train()).rejects.toMatchObject({ code: 'bad_config', message: expect.stringMatching(/`gradient_checkpointing`/) as string });
    await engine.close();
  });

  it('holds no tensor longer at the last step than at the second', async () => {
    const engine = await openEngine({ model: join(dir, 'model'), inline: true });
    const counts: number[] = [];
    const run = trainer('leak', { maxSteps: 8, saveStrategy: 'no' }, { model: engine, callbacks: [{ onStep: async () => void counts.push((await engine.memory()).numTensors) }] });
    await run.train();
    await run.close();
    expect(counts.slice(1)).toEqual(new Array(7).fill(counts[1]));
    await engine.close();
  });

  it('refuses batch sizes that do not divide, saying which would', () => {
    expect(() => trainer('bad', { perDeviceTrainBatchSize: 6 })).toThrow('`per_device_train_batch_size` 6 is not divisible by `num_generations` 4 (4 or 8 would be)');
  });
});
