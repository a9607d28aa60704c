import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openEngine } from '@espalier/engine';
import { characterTokenizer, createModel } from '@espalier/models';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PRMTrainer, type PRMTrainerOptions } from './prm-trainer';
import { RewardTrainer, type RewardTrainerOptions } from './reward-trainer';

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'espalier-reward-'));
  await createModel(join(dir, 'model'), { config: { hiddenSize: 32, numLayers: 2, numHeads: 2, maxPositions: 64, initializerRange: 0.1 }, tokenizer: characterTokenizer('0123456789+=abcdef\n '), seed: 1 });
});
afterAll(async () => rm(dir, { recursive: true, force: true }));

const letters = 'abcdef';
/** Which letter was asked for is in the prompt: the better answer repeats it, the other does not. */
const pairs = (seed: number, size: number) => {
  let state = seed;
  const draw = (n: number) => (state = (state * 48271) % 2147483647) % n;
  return Array.from({ length: size }, () => {
    const asked = draw(6);
    const other = (asked + 1 + draw(5)) % 6;
    const noise = () => '0123456789'[draw(10)];
    return { prompt: `${noise()}${letters[asked]}${noise()}=`, chosen: `${noise()}${letters[asked]}`, rejected: `${noise()}${letters[other]}` };
  });
};

const trainer = (name: string, args: RewardTrainerOptions['args'] = {}, more: Partial<RewardTrainerOptions> = {}) =>
  new RewardTrainer({ model: join(dir, 'model'), trainDataset: pairs(7, 24), inline: true, args: { outputDir: join(dir, name), maxSteps: 6, learningRate: 3e-3, loggingSteps: 2, saveSteps: 2, ...args }, ...more });
/** Pointwise, and in the mean, where a bias would show. */
function same(whole: readonly number[], parts: readonly number[]): void {
  expect(parts).toHaveLength(whole.length);
  const residuals = whole.map((value, i) => (parts[i] - value) / Math.max(1, Math.abs(value)));
  residuals.forEach((residual, i) => expect(Math.abs(residual), `number ${i}`).toBeLessThan(1e-4));
  expect(Math.abs(residuals.reduce((a, b) => a + b, 0) / residuals.length)).toBeLessThan(1e-5);
}

const weights = async (name: string, step: number) => (await readFile(join(dir, name, 'checkpoints', `step-${String(step).padStart(6, '0')}`, 'model.safetensors'))).toString('base64');

describe('RewardTrainer on a small model', () => {
  it('tells the better answer of at least 90 % of held-out pairs, and leaves a model that opens with its head', async () => {
    const held = pairs(99, 200);
    const run = trainer('learns', { maxSteps: 100, learningRate: 3e-3, perDeviceTrainBatchSize: 16, perDeviceEvalBatchSize: 50, saveStrategy: 'no', centerRewardsCoefficient: 0.01 }, { trainDataset: pairs(7, 400), evalDataset: held });
    expect((await run.evaluate()).accuracy).toBeLessThan(0.7);
    await run.train();
    const after = await run.evaluate();
    expect(after.accuracy).toBeGreaterThanOrEqual(0.9);
    expect(after.margin).toBeGreaterThan(0);
    expect(Math.abs(after.mean_reward)).toBeLessThan(after.margin);
    await run.saveModel(join(dir, 'saved'));
    await run.close();
    const again = trainer('again', { centerRewardsCoefficient: 0.01 }, { model: join(dir, 'saved'), evalDataset: held });
    expect((await again.evaluate()).loss).toBeCloseTo(after.loss, 5);
    await again.close();
    expect(JSON.parse(await readFile(join(dir, 'saved', 'config.json'), 'utf8'))).toMatchObject({ architectures: ['LlamaForSequenceClassification'] });
  });

  it('goes on after an interruption to the same bytes', async () => {
    const straight = trainer('straight');
    await straight.train();
    await straight.close();
    const controller = new AbortController();
    const first = trainer('stopped', {}, { callbacks: [{ onStep: ({ step }) => void (step === 3 && controller.abort()) }] });
    await expect(first.train({ signal: controller.signal })).rejects.toMatchObject({ code: 'aborted' });
    await first.close();
    const second = trainer('stopped');
    await second.train({ resume: true });
    await second.close();
    expect(await weights('stopped', 6)).toBe(await weights('straight', 6));
  });

  it('accumulation changes nothing: 8 × 1 is 1 × 8, over 50 steps', async () => {
    const rows = pairs(3, 40).map((row, i) => ({ ...row, margin: 0.1 * (i % 3), soft_label: i % 4 ? 1 : 0.8 }));
    const path = async (name: string, perDeviceTrainBatchSize: number, gradientAccumulationSteps: number) => {
      const list: number[] = [];
      const run = trainer(name, { perDeviceTrainBatchSize, gradientAccumulationSteps, maxSteps: 50, learningRate: 1e-3, saveStrategy: 'no', centerRewardsCoefficient: 0.1 }, { trainDataset: rows, modelArgs: { bf16: false }, callbacks: [{ onStep: (_, { loss, grad_norm, accuracy, margin }) => void list.push(loss, grad_norm, accuracy, margin) }] });
      await run.train();
      await run.close();
      return list;
    };
    same(await path('whole', 8, 1), await path('parts', 1, 8));
  });

  it('holds no tensor longer at the last step than at the second; an engine without a head is named', async () => {
    const engine = await openEngine({ model: join(dir, 'model'), inline: true, scalarHead: true });
    const counts: number[] = [];
    const run = trainer('leak', { maxSteps: 6, saveStrategy: 'no' }, { model: engine, callbacks: [{ onStep: async () => void counts.push((await engine.memory()).numTensors) }] });
    await run.train();
    await run.close();
    expect(counts.slice(1)).toEqual(new Array(5).fill(counts[1]));
    await engine.close();
    const bare = await openEngine({ model: join(dir, 'model'), inline: true });
    const wrong = trainer('bare', {}, { model: bare });
    await expect(wrong.train()).rejects.toMatchObject({ code: 'unsupported', fix: expect.stringMatching(/scalarHead: true/) as string });
    await wrong.close();
    await bare.close();
  });

  it('trains an adapter and the head beside it', async () => {
    const run = trainer('lora', { maxSteps: 20, learningRate: 1e-2, saveStrategy: 'no' }, { evalDataset: pairs(7, 24), modelArgs: { usePeft: true, loraR: 4 } });
    const before = await run.evaluate();
    await run.train();
    expect((await run.evaluate()).loss).toBeLessThan(before.loss);
    await run.close();
  });

  it('names file, line and field of a wrong row, and a wrong field of its configuration', async () => {
    const file = join(dir, 'rows.jsonl');
    const lines = [['{"chosen": "1", "rejected": 2}', /rows\.jsonl:2: `rejected`/], ['{"chosen": "1", "rejected": "2", "margin": "x"}', /rows\.jsonl:2: `margin` is "x"/], ['{"chosen": "1", "rejected": "2", "soft_label": 1.5}', /rows\.jsonl:2: `soft_label` is 1.5/]] as const; // prettier-ignore
    for (const [line, message] of lines) {
      await writeFile(file, `{"chosen": "1", "rejected": "2"}\n${line}\n`);
      const run = trainer('bad', {}, { trainDataset: file });
      await expect(run.train()).rejects.toMatchObject({ code: 'bad_data', message: expect.stringMatching(message) as string });
      await run.close();
    }
    expect(() => trainer('bad', { centerRewardsCoefficient: -1 })).toThrow(/`center_rewards_coefficient`: .*found -1/);
    const long = trainer('long', { maxLength: 4 });
    await expect(long.train()).rejects.toMatchObject({ code: 'bad_data', message: expect.stringMatching(/anything to train on/) as string });
    await long.close();
  });
});

describe('PRMTrainer on a small model', () => {
  /** Every step repeats a letter of the prompt, or does not. */
  const reasonings = (seed: number, size: number) =>
    pairs(seed, size).map(({ prompt, chosen, rejected }, i) => ({ prompt, completions: i % 2 ? [chosen, rejected, chosen] : [rejected, chosen], labels: i % 2 ? [true, false, true] : [false, true] }));
  const prm = (name: string, args: PRMTrainerOptions['args'] = {}, more: Partial<PRMTrainerOptions> = {}) =>
    new PRMTrainer({ model: join(dir, 'model'), trainDataset: reasonings(7, 24), inline: true, args: { outputDir: join(dir, name), maxSteps: 6, learningRate: 3e-3, loggingSteps: 2, saveSteps: 2, ...args }, ...more });

  it('tells right steps from wrong ones on held-out rows', async () => {
    const run = prm('prm-learns', { maxSteps: 150, learningRate: 3e-3, perDeviceTrainBatchSize: 16, perDeviceEvalBatchSize: 50, saveStrategy: 'no' }, { trainDataset: reasonings(7, 400), evalDataset: reasonings(99, 100) });
    await run.train();
    expect((await run.evaluate()).accuracy).toBeGreaterThanOrEqual(0.9);
    await run.close();
  });

  it('goes on after an interruption to the same bytes, and accumulates exactly', async () => {
    const straight = prm('prm-straight');
    await straight.train();
    await straight.close();
    const controller = new AbortController();
    const first = prm('prm-stopped', {}, { callbacks: [{ onStep: ({ step }) => void (step === 3 && controller.abort()) }] });
    await expect(first.train({ signal: controller.signal })).rejects.toMatchObject({ code: 'aborted' });
    await first.close();
    const second = prm('prm-stopped');
    await second.train({ resume: true });
    await second.close();
    expect(await weights('prm-stopped', 6)).toBe(await weights('prm-straight', 6));
    const path = async (name: string, perDeviceTrainBatchSize: number, gradientAccumulationSteps: number) => {
      const list: number[] = [];
      const run = prm(name, { perDeviceTrainBatchSize, gradientAccumulationSteps, maxSteps: 50, learningRate: 1e-3, saveStrategy: 'no' }, { modelArgs: { bf16: false }, callbacks: [{ onStep: (_, { loss, grad_norm }) => void list.push(loss, grad_norm) }] });
      await run.train();
      await run.close();
      return list;
    };
    same(await path('prm-whole', 8, 1), await path('prm-parts', 1, 8));
  });

  it('trains on the last step alone when it is asked to, and evaluates on all', async () => {
    const row = { prompt: '1a=', completions: ['1a', '2b'], labels: [true, false] };
    const run = prm('prm-last', { trainOnLastStepOnly: true, maxSteps: 200, learningRate: 1e-2, saveStrategy: 'no' }, { trainDataset: [row], evalDataset: [row, { ...row, labels: [false, false] }] });
    await run.train();
    expect((await run.evaluate()).accuracy).toBe(0.75); // both last steps; the first step is the same in both rows, and right in one
    await run.close();
  });
});
