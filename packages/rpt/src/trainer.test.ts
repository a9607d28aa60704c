import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { arithmeticTask } from '@espalier/data';
import { openEngine } from '@espalier/engine';
import { characterTokenizer, createModel } from '@espalier/models';
import { defineAlgorithm, defineObjective, defineReward, type ScoredTrajectory } from '@espalier/spec';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packTrajectories } from './trajectory-batch';
import { RPTTrainer, type RPTTrainerOptions } from './trainer';

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'espalier-rpt-'));
  await createModel(join(dir, 'model'), { config: { hiddenSize: 16, numLayers: 2, numHeads: 2 }, tokenizer: characterTokenizer('0123456789+= '), seed: 1 });
});
afterAll(async () => rm(dir, { recursive: true, force: true }));

/** The plain policy gradient with the group's mean as its baseline: rpt takes any algorithm. */
const reinforce = defineAlgorithm({
  name: 'reinforce',
  numIterations: 1,
  needsReference: false,
  objective: defineObjective({
    name: 'reinforce', needs: ['logps'], coupling: 'token',
    evaluate: ({ logps }, { columns: { advantages }, normalizer: { tokens } }) => ({
      loss: -logps!.reduce((sum, logp, a) => sum + advantages[a] * logp, 0) / tokens,
      grads: { logps: advantages.map((advantage) => -advantage / tokens) },
      metrics: {},
    }),
  }),
  async experience(groups) {
    const total = ({ rewards }: ScoredTrajectory) => Object.values(rewards).reduce((sum: number, reward) => sum + (typeof reward === 'number' ? reward : 0), 0);
    const { batch, owner } = packTrajectories(groups);
    const mean = new Map(groups.map((group) => [group[0].group, group.reduce((sum, t) => sum + total(t), 0) / group.length]));
    batch.columns.advantages = Float32Array.from(owner, (trajectory) => total(trajectory) - mean.get(trajectory.group)!);
    return { batch, metrics: { reward: groups.flat().reduce((sum, t) => sum + total(t), 0) / groups.flat().length } };
  },
});
const sevens = defineReward({ name: 'sevens', score: async (samples) => samples.map(({ completion }) => (completion.match(/7/g) ?? []).length) });
const rows = arithmeticTask({ difficulty: 1, format: 'text', template: '{expression}=', size: 20, withCompletion: true });

const trainer = (name: string, args: RPTTrainerOptions['args'] = {}, more: Partial<RPTTrainerOptions> = {}) =>
  new RPTTrainer({
    model: join(dir, 'model'),
    algorithm: reinforce,
    rewardFuncs: sevens,
    trainDataset: rows,
    inline: true,
    args: { outputDir: join(dir, name), maxSteps: 6, perDeviceTrainBatchSize: 8, numGenerations: 4, maxCompletionLength: 4, learningRate: 3e-3, loggingSteps: 2, saveSteps: 2, ...args },
    ...more,
  });
const weights = async (name: string, step: number) => (await readFile(join(dir, name, 'checkpoints', `step-${String(step).padStart(6, '0')}`, 'model.safetensors'))).toString('base64');

describe('RPTTrainer on a small model', () => {
  it('learns what is rewarded', async () => {
    const run = trainer('learns', { maxSteps: 30, learningRate: 1e-2, saveStrategy: 'no', loggingSteps: 1 }, { evalDataset: rows });
    const before = await run.evaluate();
    const { step } = await run.train();
    const after = await run.evaluate();
    await run.close();
    expect(step).toBe(30);
    expect(after.reward).toBeGreaterThan(before.reward + 1);
  });

  it('goes on after an interruption to the same bytes, all options on', async () => {
    const args = { klCoef: 0.1, klPlacement: 'reward' as const, klTarget: 0.5, klHorizon: 50, lmLossCoef: 0.3, lmBatchSize: 4 };
    const straight = trainer('straight', args, { lmDataset: rows });
    await straight.train();
    await straight.close();

    const controller = new AbortController();
    const first = trainer('stopped', args, { lmDataset: rows, callbacks: [{ onStep: ({ step }) => void (step === 3 && controller.abort()) }] });
    await expect(first.train({ signal: controller.signal })).rejects.toMatchObject({ code: 'aborted' });
    await first.close();
    const second = trainer('stopped', args, { lmDataset: rows });
    await second.train({ resume: true });
    await second.close();
    expect(await weights('stopped', 6)).toBe(await weights('straight', 6));
  });

  it('micro-batches add up: 8 × 1 is 2 × 4', async () => {
    const losses = async (name: string, perDeviceTrainBatchSize: number, gradientAccumulationSteps: number) => {
      const norms: number[] = [];
      const run = trainer(name, { perDeviceTrainBatchSize, gradientAccumulationSteps, maxSteps: 2, saveStrategy: 'no' }, { callbacks: [{ onStep: (_, { grad_norm }) => void norms.push(grad_norm) }] });
      await run.train();
      await run.close();
      return norms;
    };
    const [whole, parts] = [await losses('whole', 8, 1), await losses('parts', 2, 4)];
    whole.forEach((norm, i) => expect(parts[i]).toBeCloseTo(norm, 4));
  });

  it('holds no tensor longer at the last step than at the second', async () => {
    const engine = await openEngine({ model: join(dir, 'model'), inline: true, reference: true });
    const counts: number[] = [];
    const run = trainer('leak', { maxSteps: 8, klCoef: 0.1, lmLossCoef: 0.1, saveStrategy: 'no' }, { model: engine, lmDataset: rows, callbacks: [{ onStep: async () => void counts.push((await engine.memory()).numTensors) }] });
    await run.train();
    await run.close(); // leaves the engine open: it is not the trainer's
    expect(counts.slice(1)).toEqual(new Array(7).fill(counts[1]));
    await engine.close();
  });

  it('refuses what does not fit together, before anything is opened', () => {
    expect(() => trainer('bad', { perDeviceTrainBatchSize: 6 })).toThrow('`per_device_train_batch_size` 6 is not divisible by `num_generations` 4 (4 or 8 would be)');
    expect(() => trainer('bad', { lmLossCoef: 0.1 })).toThrow(/no `lm_dataset`/);
    expect(() => trainer('bad', { klTarget: 3 })).toThrow(/`kl_coef` is 0/);
    expect(() => trainer('bad', { klCoef: 0.1, klEstimator: 'k1' })).toThrow(/k2 or k3/);
  });

  it('names the row whose prompt leaves no room', async () => {
    const run = trainer('long', { maxCompletionLength: 1000 }, { trainDataset: [{ prompt: '1+1='.repeat(20) }] });
    await expect(run.train()).rejects.toMatchObject({ code: 'bad_data', message: expect.stringMatching(/row 0 of trainDataset: `prompt` has 80 tokens.*24/) as string });
    await run.close();
  });
});
