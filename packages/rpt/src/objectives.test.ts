import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Row } from '@espalier/data';
import { openEngine } from '@espalier/engine';
import { characterTokenizer, createModel } from '@espalier/models';
import { readReport } from '@espalier/report';
import { defineReward } from '@espalier/spec';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { computeUnits } from './control/compute-meter';
import type { ControlReport } from './control/matched-control';
import { thoughtAlgorithm } from './information-gain/thought-algorithm';
import { defineRPTObjective } from './objective';
import { conditionedPrompt } from './precision/solutions';
import { sampledRun } from './sampled-run';
import { RPTTrainer, type RPTTrainerOptions } from './trainer';

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'espalier-objectives-'));
  await createModel(join(dir, 'model'), { config: { hiddenSize: 16, numLayers: 2, numHeads: 2 }, tokenizer: characterTokenizer('abcdCORETIN<>/. =\nsolutin'), seed: 3 });
});
afterAll(async () => rm(dir, { recursive: true, force: true }));

const trainer = (name: string, args: RPTTrainerOptions['args'], more: Partial<RPTTrainerOptions> = {}) =>
  new RPTTrainer({
    model: join(dir, 'model'),
    inline: true,
    ...more,
    args: { outputDir: join(dir, name), perDeviceTrainBatchSize: 16, numGenerations: 8, maxCompletionLength: 4, maxSteps: 6, learningRate: 1e-2, lrSchedulerType: 'constant', loggingSteps: 1, saveSteps: 2, ...args },
  });
const bytes = async (name: string, step: number, file: string) => (await readFile(join(dir, name, 'checkpoints', `step-${String(step).padStart(6, '0')}`, file))).toString('base64');
const lines = async (name: string, file: string) => (await readFile(join(dir, name, file), 'utf8')).trim().split('\n').map((line) => JSON.parse(line) as Record<string, never>);
/** The mean of a metric over the first and over the last quarter of a run. */
async function moved(name: string, metric: string): Promise<{ first: number; last: number }> {
  const values = (await lines(name, 'metrics.jsonl')).map((record) => record[metric] as number).filter((value) => value !== undefined);
  const quarter = Math.ceil(values.length / 4);
  const mean = (list: number[]) => list.reduce((a, b) => a + b, 0) / list.length;
  return { first: mean(values.slice(0, quarter)), last: mean(values.slice(-quarter)) };
}
async function stopsAndGoesOn(name: string, args: RPTTrainerOptions['args'], more: Partial<RPTTrainerOptions>): Promise<void> {
  const straight = trainer(`${name}-straight`, args, more);
  await straight.train();
  await straight.close();
  const controller = new AbortController();
  const first = trainer(`${name}-stopped`, args, { ...more, callbacks: [{ onStep: ({ step }) => void (step === 3 && controller.abort()) }] });
  await expect(first.train({ signal: controller.signal })).rejects.toMatchObject({ code: 'aborted' });
  await first.close();
  const second = trainer(`${name}-stopped`, args, more);
  await second.train({ resume: true });
  await second.close();
}

const places = { minContext: 4, maxContext: 12 };
const corpus: Row[] = Array.from({ length: 6 }, (_, i) => ({ text: 'ab'.repeat(8 + i) }));

describe('next-token', () => {
  const args = { ...places, objective: 'next-token', questionFormat: 'text', questionTemplate: '{context}', predictionFormat: 'text', predictionHorizon: 1, maxCompletionLength: 1, positionsPerText: 4 } as const;
  const parts = { algorithm: thoughtAlgorithm(), trainDataset: corpus, evalDataset: corpus };

  it('learns what follows, and says how well by difficulty', async () => {
    const run = trainer('next-token', { ...args, maxSteps: 40, saveStrategy: 'no', minEntropy: 0.1, entropyTopK: 4 }, parts);
    const before = await run.evaluateMetrics();
    await run.train();
    const after = await run.evaluateMetrics();
    await run.close();
    expect(after.accuracy).toBeGreaterThan(before.accuracy + 0.3);
    expect(after['rewards/accuracy_easy/mean']).toBe(after.accuracy); // a model that knows nothing finds all positions hard
  });

  it('pays by first tokens and densely too', async () => {
    for (const predictionReward of ['first-token', 'dense', 'dense-if-correct'] as const) {
      const run = trainer(predictionReward, { ...args, predictionReward, maxSteps: 1, saveStrategy: 'no' }, parts);
      await run.train();
      await run.close();
      const rewards = (await lines(predictionReward, 'samples.jsonl')).map((sample) => sample['reward'] as number);
      const isPartial = (reward: number) => reward > 0 && reward < 1;
      if (predictionReward === 'first-token') expect(rewards.some(isPartial)).toBe(false);
      else if (predictionReward === 'dense') expect(rewards.some(isPartial)).toBe(true);
      else for (const group of [rewards.slice(0, 8), rewards.slice(8)]) expect(group.some(isPartial)).toBe(group.includes(1));
    }
  });
});

describe('information-gain', () => {
  const args = { ...places, objective: 'information-gain', thoughtStart: '<', thoughtEnd: '>', baselineDecay: 0.9 } as const;
  const parts = { trainDataset: corpus };

  it('thoughts come to help, and begin with the gain that the first weights give', async () => {
    const run = trainer('gain', { ...args, maxSteps: 30, saveStrategy: 'no', logCompletions: true }, parts);
    await run.train();
    await run.close();
    const { first, last } = await moved('gain', 'reward');
    expect(last).toBeGreaterThan(first + 0.02);

    // At the first step the average is the first weights: both log-probs can be had from them.
    const engine = await openEngine({ model: join(dir, 'model'), inline: true });
    const encode = (text: string) => engine.tokenizer.encode(text, { addSpecialTokens: false });
    const one = (await lines('gain', 'samples.jsonl')).find((sample) => (sample['finish_reason'] as string) === 'length')!;
    const context = (one['prompt'] as string).slice(0, -1);
    const next = context.endsWith('a') ? 'b' : 'a';
    const lastLogp = async (text: string) => (await engine.score([encode(text)]))[0].at(-1)!;
    const gain = (await lastLogp(`${context}<${one['completion'] as string}>${next}`)) - (await lastLogp(`${context}${next}`));
    await engine.close();
    expect(one['reward']).toBeCloseTo(gain, 3);
  });

  it('goes on after an interruption to the same bytes, the average included', async () => {
    await stopsAndGoesOn('gain', { ...args, klCoef: 0.05, lmLossCoef: 0.1, lmBatchSize: 2 }, { ...parts, lmDataset: corpus });
    for (const file of ['model.safetensors', 'ema.safetensors']) expect(await bytes('gain-stopped', 6, file)).toBe(await bytes('gain-straight', 6, file));
    expect(await bytes('gain-straight', 6, 'ema.safetensors')).not.toBe(await bytes('gain-straight', 4, 'ema.safetensors'));
  });
});

it('next-segment: learns to say the sentence', async () => {
  const texts: Row[] = Array.from({ length: 6 }, () => ({ text: 'C. C. C. C. C.' }));
  const run = trainer('next-segment', { ...places, objective: 'next-segment', questionFormat: 'text', questionTemplate: '{context} ', middleTemplate: '{context} {following} ', segmentsAhead: 1, maxCompletionLength: 2, maxSteps: 40, saveStrategy: 'no' }, { algorithm: thoughtAlgorithm(), trainDataset: texts });
  await run.train();
  await run.close();
  const { first, last } = await moved('next-segment', 'reward');
  expect(last).toBeGreaterThan(first + 0.1);
});

describe('precision', () => {
  const rows: Row[] = Array.from({ length: 8 }, (_, i) => ({ prompt: `${'abcd'[i % 4]}=`, completion: i % 2 === 0 ? 'c' : 'd', correct: i % 2 === 0 }));
  const args = { objective: 'precision', perDeviceTrainBatchSize: 8, temper: 0.5 } as const;

  it('learns solutions, tells right ones from wrong ones, and says a right one where it is asked for one', async () => {
    const run = trainer('precision', { ...args, maxSteps: 60, valueCoef: 0.5, saveStrategy: 'no', klCoef: 0.001, lmLossCoef: 0.01, lmBatchSize: 2 }, { trainDataset: rows, evalDataset: rows, lmDataset: corpus });
    const before = await run.evaluateMetrics();
    await run.train();
    const after = await run.evaluateMetrics();
    await run.saveModel(join(dir, 'precise'));
    await expect(run.evaluate()).rejects.toMatchObject({ code: 'unsupported' });
    await run.close();
    expect(after.nll).toBeLessThan(before.nll / 2);
    expect(after.value_accuracy).toBe(1);
    expect(after.gold_weight).toBeGreaterThan(before.gold_weight);

    const engine = await openEngine({ model: join(dir, 'precise'), inline: true });
    const answer = async (correct: boolean) => {
      for await (const { text } of engine.generate([{ id: 'a', prompt: engine.tokenizer.encode(conditionedPrompt('a=', correct)), seed: 1, sampling: { maxNewTokens: 1, temperature: 0 } }])) return text;
    };
    expect([await answer(true), await answer(false)]).toEqual(['c', 'd']);
    await engine.close();
  });

  it('goes on after an interruption to the same bytes; a step in parts is the same step', async () => {
    await stopsAndGoesOn('precision', { ...args, valueCoef: 0.1, klCoef: 0.1 }, { trainDataset: rows });
    expect(await bytes('precision-stopped', 6, 'model.safetensors')).toBe(await bytes('precision-straight', 6, 'model.safetensors'));
    const norms = async (name: string, perDeviceTrainBatchSize: number, gradientAccumulationSteps: number) => {
      const run = trainer(name, { ...args, valueCoef: 0.1, perDeviceTrainBatchSize, gradientAccumulationSteps, maxSteps: 2, saveStrategy: 'no' }, { trainDataset: rows });
      await run.train();
      await run.close();
      return (await lines(name, 'metrics.jsonl')).map((record) => record['grad_norm'] as number);
    };
    const [whole, parts] = [await norms('whole', 8, 1), await norms('parts', 2, 4)];
    whole.forEach((norm, i) => expect(parts[i]).toBeCloseTo(norm, 3));
  });

  it('refuses rows that do not say whether they are right, and what makes no sense, by name', async () => {
    const run = trainer('bad-rows', args, { trainDataset: [{ prompt: 'a=', completion: 'c' }] });
    await expect(run.train()).rejects.toMatchObject({ code: 'bad_data', message: expect.stringContaining('`correct`') as string });
    await run.close();
    expect(() => trainer('bad', args, { trainDataset: rows, algorithm: thoughtAlgorithm() })).toThrow(/no use for `algorithm`/);
    expect(() => trainer('bad', { objective: 'next-token' }, { trainDataset: corpus })).toThrow(/needs `algorithm`/);
    expect(() => trainer('bad', { objective: 'information-gain', goldFloor: 0.1 }, { trainDataset: corpus })).toThrow('`gold_floor` is no field of objective information-gain');
    expect(() => trainer('bad', { objective: 'sooth' }, { trainDataset: corpus })).toThrow(/one of verifiable, next-token/);
    expect(() => trainer('bad', { objective: 'next-segment', segmentReward: 'judge' }, { trainDataset: corpus, algorithm: thoughtAlgorithm() })).toThrow(/segment_judge/);
  });
});

it('an objective from outside is a value with fields of its own', async () => {
  const seen: unknown[] = [];
  const objective = defineRPTObjective({
    name: 'echo', summary: 'says a', fields: { echoes: z.int().positive().default(2) }, takes: { algorithm: 'required', rewards: 'never' }, rows: ['prompt_only'],
    create(setup) {
      seen.push((setup.args as unknown as { echoes: number }).echoes);
      return sampledRun(setup, { rewards: [sayA] });
    },
  });
  const run = trainer('echo', { echoes: 3, maxSteps: 1, saveStrategy: 'no' } as RPTTrainerOptions['args'], { objective, algorithm: thoughtAlgorithm(), trainDataset: prompts });
  expect((await run.train()).metrics).toHaveProperty('rewards/a/mean');
  await run.close();
  expect(seen).toEqual([3]);
  expect(() => trainer('bad', { echoes: 0 } as RPTTrainerOptions['args'], { objective, algorithm: thoughtAlgorithm(), trainDataset: prompts })).toThrow(/`echoes`/);
});

const sayA = defineReward({ name: 'a', score: async (samples) => samples.map(({ completion }) => (completion.match(/a/g) ?? []).length / 4) });
const prompts: Row[] = Array.from({ length: 4 }, (_, i) => ({ prompt: `${'abcd'[i]}=`, completion: 'aaa' }));

it('a matched control spends as much, and stands beside the run', async () => {
  const run = trainer('controlled', { control: 'ce', controlLearningRate: 3e-3, maxSteps: 3, klCoef: 0.1 }, { algorithm: thoughtAlgorithm(), rewardFuncs: sayA, trainDataset: prompts, evalDataset: prompts });
  const { control } = await run.train();
  await run.close();
  expect(JSON.parse(await readFile(join(dir, 'controlled', 'control.json'), 'utf8'))).toEqual(JSON.parse(JSON.stringify(control)));
  const { compute, steps, held } = control as ControlReport;
  expect(compute.run.generated).toBeGreaterThan(0);
  expect(compute.run.backward).toBeGreaterThan(0);
  expect(compute.run.forward).toBe(2 * compute.run.backward); // in training, and the reference's
  const step = computeUnits(compute.control) / steps.control;
  expect(Math.abs(computeUnits(compute.control) - computeUnits(compute.run))).toBeLessThanOrEqual(step);
  expect(Object.keys(held!.run)).toEqual(Object.keys(held!.control));
  const page = await readReport(join(dir, 'controlled'));
  expect(page.stages.map(({ name }) => name)).toEqual(['run', 'control']);
  expect(page.stages[1].metrics).toMatchObject({ eval_reward: held!.control.reward, steps: steps.control });
  expect(() => trainer('bad', { control: 'ce' }, { algorithm: thoughtAlgorithm(), rewardFuncs: sayA, curriculum: chooser() })).toThrow(/no end/);
});

/** Gives one kind of row until it is solved, then the next. */
function chooser() {
  let state = { level: 0, seen: [] as number[] };
  return {
    next: (count: number) => Array.from({ length: count }, () => ({ prompt: `${'abcd'[state.level]}=`, level: state.level })),
    observe(row: Readonly<Record<string, unknown>>, reward: number | null) {
      state = { level: reward !== null && reward > 0.2 ? Math.min(3, (row['level'] as number) + 1) : state.level, seen: [...state.seen, row['level'] as number] };
    },
    state: () => state,
    restore: (saved: unknown) => void (state = saved as typeof state),
  };
}

it('a curriculum chooses rows by what they earned, and goes on after an interruption to the same bytes', async () => {
  const own = chooser();
  const run = trainer('chosen', {}, { algorithm: thoughtAlgorithm(), rewardFuncs: sayA, curriculum: own });
  await run.train();
  await run.close();
  expect(own.state().seen).toHaveLength(6 * 16);
  expect(own.state().level).toBeGreaterThan(0);
  const shown = (await lines('chosen', 'samples.jsonl')).map((sample) => sample['prompt'] as string);
  expect(new Set(shown).size).toBeGreaterThan(1);

  const controller = new AbortController();
  const first = trainer('chosen-stopped', {}, { algorithm: thoughtAlgorithm(), rewardFuncs: sayA, curriculum: chooser(), callbacks: [{ onStep: ({ step }) => void (step === 3 && controller.abort()) }] });
  await expect(first.train({ signal: controller.signal })).rejects.toMatchObject({ code: 'aborted' });
  await first.close();
  const second = trainer('chosen-stopped', {}, { algorithm: thoughtAlgorithm(), rewardFuncs: sayA, curriculum: chooser() });
  await second.train({ resume: true });
  await second.close();
  expect(await bytes('chosen-stopped', 6, 'model.safetensors')).toBe(await bytes('chosen', 6, 'model.safetensors'));
});
