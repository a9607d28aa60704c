import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openEngine, type Engine } from '@espalier/engine';
import { characterTokenizer, createModel } from '@espalier/models';
import { defineReward, type Metrics, type RolloutEngine } from '@espalier/spec';
import type { TrainerCallback } from '@espalier/trainer';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { GRPOTrainer, ReinforcePlusPlusTrainer, RLOOTrainer, type GRPOTrainerOptions } from './index';

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'espalier-family-'));
  await createModel(join(dir, 'model'), { config: { hiddenSize: 16, numLayers: 2, numHeads: 2, maxPositions: 64 }, tokenizer: characterTokenizer('0123456789+= '), seed: 1 });
});
afterAll(async () => rm(dir, { recursive: true, force: true }));

const sevens = defineReward({ name: 'sevens', score: async (samples) => samples.map(({ completion }) => (completion.match(/7/g) ?? []).length) });
const rows = Array.from({ length: 12 }, (_, i) => ({ prompt: `${i}+${i}=` }));
const family = { grpo: GRPOTrainer, rloo: RLOOTrainer, reinforce: ReinforcePlusPlusTrainer, baseline: ReinforcePlusPlusTrainer };
type Name = keyof typeof family;
const own = (name: Name) => (name === 'baseline' ? { baseline: true } : {});

function trainer(kind: Name, run: string, args: Record<string, unknown> = {}, more: Partial<GRPOTrainerOptions> = {}) {
  const Trainer = family[kind] as typeof GRPOTrainer;
  return new Trainer({
    model: join(dir, 'model'), rewardFuncs: sevens, trainDataset: rows, inline: true,
    args: { outputDir: join(dir, run), maxSteps: 6, perDeviceTrainBatchSize: 8, numGenerations: 4, maxCompletionLength: 4, learningRate: 3e-3, loggingSteps: 2, saveSteps: 2, ...own(kind), ...args } as GRPOTrainerOptions['args'],
    ...more,
  });
}
const weights = async (run: string, step: number) => (await readFile(join(dir, run, 'checkpoints', `step-${String(step).padStart(6, '0')}`, 'model.safetensors'))).toString('base64');

/** The metrics of every step. */
async function metricsOf(kind: Name, run: string, args: Record<string, unknown>, more: Partial<GRPOTrainerOptions> = {}): Promise<Metrics[]> {
  const list: Metrics[] = [];
  const job = trainer(kind, run, { saveStrategy: 'no', ...args }, { callbacks: [{ onStep: (_, metrics) => void list.push(metrics) }], ...more });
  await job.train();
  await job.close();
  return list;
}

async function resumesToTheSameBytes(kind: Name, run: string, args: Record<string, unknown>, more: Partial<GRPOTrainerOptions> = {}): Promise<void> {
  const straight = trainer(kind, `${run}-straight`, args, more);
  await straight.train();
  await straight.close();
  const controller = new AbortController();
  const abort: TrainerCallback = { onStep: ({ step }) => void (step === 3 && controller.abort()) };
  const first = trainer(kind, run, args, { ...more, callbacks: [abort] });
  await expect(first.train({ signal: controller.signal })).rejects.toMatchObject({ code: 'aborted' });
  await first.close();
  const second = trainer(kind, run, args, more);
  await second.train({ resume: true });
  await second.close();
  expect(await weights(run, 6)).toBe(await weights(`${run}-straight`, 6));
}

describe.each(['rloo', 'reinforce', 'baseline'] as const)('%s on a small model', (kind) => {
  it('learns what is rewarded, and logs it', async () => {
    const job = trainer(kind, `${kind}-learns`, { maxSteps: 30, learningRate: 1e-2, saveStrategy: 'no', beta: 0.01 }, { evalDataset: rows });
    const before = await job.evaluate({ samples: 4 });
    const { metrics } = await job.train();
    const after = await job.evaluate({ samples: 4 });
    await job.close();
    expect(after.reward).toBeGreaterThan(before.reward + 1);
    for (const name of ['reward', 'reward_std', 'frac_reward_zero_std', 'kl', 'entropy', 'clip_ratio/region_mean', 'sampling/sampling_logp_difference/mean', 'sampling/kl', 'sampling/effective_sample_size', 'loss', 'grad_norm']) {
      expect(metrics, name).toHaveProperty([name]);
    }
    expect(metrics['sampling/sampling_logp_difference/max']).toBeLessThan(1e-3); // one set of weights, two ways to compute
  });

  it('goes on after an interruption to the same bytes', () => resumesToTheSameBytes(kind, `${kind}-resumed`, { numIterations: 2, stepsPerGeneration: 2 }));

  it('micro-batches add up: 8 × 1 is 1 × 8, step after step', async () => {
    const [whole, parts] = [await metricsOf(kind, `${kind}-whole`, { perDeviceTrainBatchSize: 8 }), await metricsOf(kind, `${kind}-parts`, { perDeviceTrainBatchSize: 1, gradientAccumulationSteps: 8 })];
    expect(parts).toHaveLength(6);
    for (const name of ['loss', 'grad_norm', 'kl']) whole.forEach((metrics, i) => expect(Math.abs(parts[i][name] - metrics[name]), `${name} at step ${i + 1}`).toBeLessThanOrEqual(1e-4 * Math.max(1, Math.abs(metrics[name]))));
  });

  it('holds no tensor longer at the last step than at the second', async () => {
    const engine = await openEngine({ model: join(dir, 'model'), reference: true, inline: true });
    const counts: number[] = [];
    const job = trainer(kind, `${kind}-leak`, { saveStrategy: 'no' }, { model: engine, callbacks: [{ onStep: async () => void counts.push((await engine.memory()).numTensors) }] });
    await job.train();
    await job.close();
    expect(counts.slice(1)).toEqual(new Array(5).fill(counts[1]));
    await engine.close();
  });
});

describe('GRPOTrainer with advantages of one\'s own', () => {
  it('learns from them', async () => {
    const centred: GRPOTrainerOptions['advantages'] = (_groups, { rewards }) => rewards.map((group) => group.map((r) => (r ?? 0) - group.reduce<number>((sum, v) => sum + (v ?? 0), 0) / group.length));
    const job = trainer('grpo', 'custom', { maxSteps: 30, learningRate: 1e-2, saveStrategy: 'no' }, { evalDataset: rows, advantages: centred });
    const before = await job.evaluate({ samples: 4 });
    await job.train();
    expect((await job.evaluate({ samples: 4 })).reward).toBeGreaterThan(before.reward + 1);
    await job.close();
    expect(JSON.parse(await readFile(join(dir, 'custom', 'config.json'), 'utf8'))).toMatchObject({ advantages: 'centred' });
  });
});

describe('GRPOTrainer', () => {
  it.each([
    ['an entropy coefficient that adapts', { useAdaptiveEntropy: true, entropyTarget: 2.4, entropyCoef: 0.01, gradientAccumulationSteps: 2 }],
    ['a reference that follows', { beta: 0.1, syncRefModel: true, refModelSyncSteps: 2 }],
  ])('goes on after an interruption to the same bytes: %s', (title, args) => resumesToTheSameBytes('grpo', title.replaceAll(' ', '-'), args));

  it('a reference that follows all the way is the policy: no KL where it was just taken', async () => {
    const found = await metricsOf('grpo', 'synced', { beta: 0.1, syncRefModel: true, refModelSyncSteps: 2, refModelMixupAlpha: 1 });
    const kl = found.map((metrics) => Math.abs(metrics.kl));
    expect(Math.max(kl[0], kl[2], kl[4])).toBeLessThan(1e-6);
    expect(Math.min(kl[1], kl[3], kl[5])).toBeGreaterThan(1e-5);
    expect(() => trainer('grpo', 'no-reference', { syncRefModel: true })).toThrow('`beta` is 0');
    expect(() => trainer('rloo', 'no-copy', { syncRefModel: true }, { modelArgs: { usePeft: true } })).toThrow('the model without its adapter');
  });

  it.each(['grpo', 'rloo'] as const)('%s: 8 × 1 is 1 × 8 over fifty steps, at each of them and on average', async (kind) => {
    const args = { maxSteps: 50, numIterations: 2, ...(kind === 'grpo' ? { lossType: 'grpo', beta: 0.02 } : {}) };
    const whole = await metricsOf(kind, `${kind}-fifty-whole`, { ...args, perDeviceTrainBatchSize: 8 });
    const parts = await metricsOf(kind, `${kind}-fifty-parts`, { ...args, perDeviceTrainBatchSize: 1, gradientAccumulationSteps: 8 });
    const residuals = whole.map(({ loss }, i) => parts[i].loss - loss);
    expect(Math.max(...residuals.map(Math.abs))).toBeLessThan(1e-3);
    expect(Math.abs(residuals.reduce((a, b) => a + b, 0) / 50)).toBeLessThan(1e-4);
  }, 60_000);
});

describe('dynamic sampling', () => {
  /** Every other prompt earns the same whatever the completion. */
  const half = defineReward({ name: 'half', score: async (samples) => samples.map(({ completionTokens, row }) => (row.flat ? 1 : completionTokens[0] % 5)) });
  const mixed = Array.from({ length: 40 }, (_, i) => ({ prompt: `${i}+1=`, flat: i % 2 === 0 }));
  const more = { rewardFuncs: half, trainDataset: mixed };

  it('puts other prompts in the place of groups without variance', async () => {
    const without = await metricsOf('grpo', 'dynamic-off', {}, more);
    const found = await metricsOf('grpo', 'dynamic-on', { dynamicSampling: true, maxResamples: 8 }, more);
    const mean = (list: Metrics[], name: string) => list.reduce((sum, metrics) => sum + metrics[name], 0) / list.length;
    expect(mean(without, 'frac_reward_zero_std')).toBeGreaterThan(0.2);
    expect(mean(found, 'frac_reward_zero_std')).toBe(0);
    expect(mean(found, 'dynamic_sampling/flat_groups')).toBe(0);
    expect(mean(found, 'dynamic_sampling/resampled_groups')).toBeGreaterThan(0);
  });

  it('stops at its bound, and keeps what is flat then', async () => {
    const flat = { ...more, trainDataset: mixed.filter((row) => row.flat) };
    const found = await metricsOf('grpo', 'dynamic-flat', { dynamicSampling: true, maxResamples: 2, maxSteps: 2 }, flat);
    for (const metrics of found) expect(metrics).toMatchObject({ 'dynamic_sampling/resampled_groups': 4, 'dynamic_sampling/flat_groups': 2, 'dynamic_sampling/reward_before': 1, frac_reward_zero_std: 1 });
  });

  it('goes on after an interruption to the same bytes', () => resumesToTheSameBytes('grpo', 'dynamic-resumed', { dynamicSampling: true }, more));

  it('needs groups', async () => {
    const job = trainer('reinforce', 'dynamic-single', { dynamicSampling: true, numGenerations: 1 });
    await expect(job.train()).rejects.toThrow('`num_generations` is 1');
    await job.close();
  });
});

describe('a sampler that lags behind', () => {
  /** Samples with weights of its own, which it takes over from the learner at every `every`-th call only. */
  async function lagging(learner: Engine, run: string, every: number): Promise<RolloutEngine> {
    let sampler: Engine | null = null;
    let version = 0;
    let calls = 0;
    return {
      specVersion: 'v1',
      name: 'lagging',
      capabilities: { tokenIds: true, logps: true, sync: 'full' },
      async *generate(requests, options) {
        for await (const completion of sampler!.generate(requests, options)) yield { ...completion, version };
      },
      async sync(published) {
        if (calls++ % every !== 0) return;
        const path = join(dir, `${run}-sampler-${calls}`);
        await learner.save(path);
        await sampler?.close();
        sampler = await openEngine({ model: path, inline: true });
        version = published.version;
      },
      close: async () => sampler?.close(),
    };
  }

  async function run(name: string, args: Record<string, unknown>): Promise<Metrics[]> {
    const engine = await openEngine({ model: join(dir, 'model'), inline: true });
    const rolloutEngine = await lagging(engine, name, 3);
    const found = await metricsOf('grpo', name, args, { model: engine, rolloutEngine });
    await rolloutEngine.close();
    await engine.close();
    return found;
  }
  const column = (found: readonly Metrics[], name: string) => found.map((metrics) => metrics[name]);

  it('is corrected as long as it is within the bound', async () => {
    const found = await run('lag-within', {});
    expect(column(found, 'sampling/staleness/max')).toEqual([0, 1, 2, 0, 1, 2]);
    expect(column(found, 'sampling/stale_rejected')).toEqual([0, 0, 0, 0, 0, 0]);
    const differences = column(found, 'sampling/sampling_logp_difference/mean');
    expect(Math.max(differences[0], differences[3])).toBeLessThan(1e-4);
    expect(Math.min(differences[2], differences[5])).toBeGreaterThan(1e-3); // weights that have moved on
    for (const metrics of found) expect(metrics).toHaveProperty(['sampling/importance_sampling_ratio/mean']);
  });

  it('is left out beyond it', async () => {
    const found = await run('lag-beyond', { maxStaleness: 1 });
    expect(column(found, 'sampling/stale_rejected')).toEqual([0, 0, 8, 0, 0, 8]);
    for (const metrics of [found[2], found[5]]) expect(metrics).not.toHaveProperty('grad_norm'); // nothing to train on: the weights stay as they are
  });
});
