import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openEngine } from '@espalier/engine';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { klOn, makeModels, sentence, teach } from './test-support';
import { DistillationTrainer, DistillTrainer, GKDTrainer, type DistillTrainerOptions } from './trainer';

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'espalier-distill-'));
  await makeModels(join(dir, 'student'), join(dir, 'teacher'));
  await teach(join(dir, 'teacher'), 80);
}, 240_000);
afterAll(async () => rm(dir, { recursive: true, force: true }));

const rows = Array.from({ length: 64 }, (_, i) => ({ prompt: sentence(200_000 + i, 4), completion: sentence(300_000 + i, 8) }));
const held = Array.from({ length: 24 }, (_, i) => sentence(100_000 + i, 4));
const trainer = (name: string, args: DistillTrainerOptions['args'] = {}, more: Partial<DistillTrainerOptions> = {}) =>
  new DistillTrainer({
    model: join(dir, 'student'), teacherModel: join(dir, 'teacher'), trainDataset: rows, inline: true,
    args: { outputDir: join(dir, name), maxSteps: 6, maxNewTokens: 6, learningRate: 3e-3, loggingSteps: 2, saveSteps: 2, ...args },
    ...more,
  });
const open = () => openEngine({ model: join(dir, 'student'), teacher: join(dir, 'teacher'), inline: true });
const weights = async (name: string, step: number) => (await readFile(join(dir, name, 'checkpoints', `step-${String(step).padStart(6, '0')}`, 'model.safetensors'))).toString('base64');

describe('DistillTrainer on small models', () => {
  it.each([
    ['on-policy', { lmbda: 1 }],
    ['half on-policy', { lmbda: 0.5 }],
    ["from the teacher's words", { lmbda: 0, seqKd: true }],
    ['by the forward KL', { lmbda: 1, beta: 0 }],
  ])('closes at least 80 % of the gap in KL on held-out prompts: %s', async (title, args) => {
    const engine = await open();
    const gaps = async () => [await klOn(engine, held, 'student'), await klOn(engine, held, 'teacher')].flatMap(({ forward, reverse }) => [forward, reverse]);
    const before = await gaps();
    const run = trainer(`learns ${title}`, { ...args, maxSteps: 60, perDeviceTrainBatchSize: 8, maxNewTokens: 8, learningRate: 1e-2, temperature: 1, saveStrategy: 'no' }, { model: engine, teacherModel: undefined });
    await run.train();
    await run.close();
    const after = await gaps();
    await engine.close();
    before.forEach((kl, i) => expect(after[i]).toBeLessThan(0.2 * kl));
  });

  it('logs what it trains on, evaluates on the rows, and writes samples', async () => {
    const run = trainer('logs', { lmbda: 0.5, saveStrategy: 'no', maxSteps: 8, loggingSteps: 8, perDeviceTrainBatchSize: 16 }, { evalDataset: rows.slice(0, 10) });
    const before = await run.evaluate();
    const { metrics } = await run.train();
    expect((await run.evaluate()).loss).toBeLessThan(before.loss);
    expect(before.jsd).toBeCloseTo(before.loss, 6);
    await run.close();
    for (const name of ['loss', 'jsd', 'on_policy', 'completions/mean_length', 'completions/clipped_ratio', 'grad_norm', 'learning_rate', 'num_tokens', 'step_time']) expect(metrics, name).toHaveProperty([name]);
    expect(metrics.on_policy).toBeGreaterThan(0.3);
    expect(metrics.on_policy).toBeLessThan(0.7);
    const samples = (await readFile(join(dir, 'logs', 'samples.jsonl'), 'utf8')).trim().split('\n').map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(samples[0]).toMatchObject({ step: 1, source: 'student', prompt: expect.any(String) as string, completion: expect.any(String) as string });
  });

  it.each([
    ['half of it on-policy', { lmbda: 0.5 }],
    ["the teacher's words", { lmbda: 0.3, seqKd: true, gradientAccumulationSteps: 2, perDeviceTrainBatchSize: 4 }],
  ])('goes on after an interruption to the same bytes: %s', async (title, args) => {
    const straight = trainer(`${title} straight`, args);
    await straight.train();
    await straight.close();
    const controller = new AbortController();
    const first = trainer(title, args, { callbacks: [{ onStep: ({ step }) => void (step === 3 && controller.abort()) }] });
    await expect(first.train({ signal: controller.signal })).rejects.toMatchObject({ code: 'aborted' });
    await first.close();
    const second = trainer(title, args);
    await second.train({ resume: true });
    await second.close();
    expect(await weights(title, 6)).toBe(await weights(`${title} straight`, 6));
  });

  it('accumulation changes nothing: 8 × 1 is 1 × 8 over 50 steps, whoever speaks', async () => {
    const losses = async (name: string, perDeviceTrainBatchSize: number, gradientAccumulationSteps: number) => {
      const list: number[] = [];
      const run = trainer(name, { lmbda: 0.5, perDeviceTrainBatchSize, gradientAccumulationSteps, maxSteps: 50, learningRate: 1e-3, saveStrategy: 'no' }, { callbacks: [{ onStep: (_, { loss }) => void list.push(loss) }] });
      await run.train();
      await run.close();
      return list;
    };
    const [whole, parts] = [await losses('whole', 8, 1), await losses('parts', 1, 8)];
    whole.forEach((value, i) => expect(parts[i], `step ${i + 1}`).toBeCloseTo(value, 4));
    expect(Math.abs(whole.reduce((sum, value, i) => sum + parts[i] - value, 0) / whole.length)).toBeLessThan(1e-5);
  });

  it('recomputes blocks to the same bytes', async () => {
    for (const gradientCheckpointing of [false, true]) {
      const run = trainer(`checkpointing ${gradientCheckpointing}`, { gradientCheckpointing, maxSteps: 4 });
      await run.train();
      await run.close();
    }
    expect(await weights('checkpointing true', 4)).toBe(await weights('checkpointing false', 4));
  });

  it('holds no tensor longer at the last step than at the second', async () => {
    const engine = await open();
    const counts: number[] = [];
    const run = trainer('leak', { maxSteps: 8, saveStrategy: 'no', lmbda: 0.5, seqKd: true }, { model: engine, teacherModel: undefined, callbacks: [{ onStep: async () => void counts.push((await engine.memory()).numTensors) }] });
    await run.train();
    await run.close();
    expect(counts.slice(1)).toEqual(new Array(7).fill(counts[1]));
    await engine.close();
  });

  it('names file, line and field of a wrong row, and what a configuration or a model lacks', async () => {
    const file = join(dir, 'rows.jsonl');
    await writeFile(file, '{"prompt": "abc", "completion": "def"}\n{"prompt": "abc"}\n');
    const failing = async (args: DistillTrainerOptions['args'], more: Partial<DistillTrainerOptions>) => {
      const run = trainer('bad', args, more);
      await expect(run.train()).rejects.toMatchObject({ code: 'bad_data' });
      const message = await run.train().catch((error: Error) => error.message);
      await run.close();
      return message;
    };
    expect(await failing({}, { trainDataset: file })).toMatch(/rows\.jsonl:2: there is no `completion`.*`lmbda` to 1/);
    expect(await failing({ lmbda: 1, maxNewTokens: 62 }, { trainDataset: file })).toMatch(/rows\.jsonl:1: `prompt` has 3 tokens, and with 62 new ones/);
    expect(() => trainer('bad', { lmbda: 1.5 })).toThrow(/`lmbda`: .*found 1.5/);
    expect(() => trainer('bad', {}, { teacherModel: undefined })).toThrow(/no `teacherModel`.*`teacher_model_name_or_path`/);
    const engine = await openEngine({ model: join(dir, 'student'), inline: true });
    const run = trainer('bad', {}, { model: engine, teacherModel: undefined });
    await expect(run.train()).rejects.toMatchObject({ code: 'bad_config', message: expect.stringMatching(/no teacher/) as string });
    expect(() => trainer('bad', {}, { model: engine })).toThrow(/beside an engine that is open already/);
    await run.close();
    await engine.close();
  });

  it("takes TRL's names: GKDTrainer, and DistillationTrainer on prompts alone", async () => {
    expect(GKDTrainer).toBe(DistillTrainer);
    const prompts = held.map((prompt) => ({ prompt }));
    const run = new DistillationTrainer({
      model: join(dir, 'student'), trainDataset: prompts, evalDataset: prompts, inline: true,
      args: { teacherModelNameOrPath: join(dir, 'teacher'), outputDir: join(dir, 'distillation'), maxCompletionLength: 8, topP: 0.9, maxSteps: 30, learningRate: 1e-2, saveStrategy: 'no' },
    });
    const [before, again] = [await run.evaluate(), await run.evaluate()];
    expect(again).toEqual(before);
    const { metrics } = await run.train();
    expect(metrics.on_policy).toBe(1);
    expect(metrics.entropy).toBeGreaterThan(0);
    expect(metrics.entropy).toBeLessThan(Math.log(12));
    expect((await run.evaluate()).loss).toBeLessThan(0.8 * before.loss);
    await run.close();
  });
});
