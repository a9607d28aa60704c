import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openEngine } from '@espalier/engine';
import { characterTokenizer, createModel } from '@espalier/models';
import { defineReward, type Judge, type Learner, type Metrics, type ScoredTrajectory } from '@espalier/spec';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dpoLoss, judgeReward, onlineDpo, onlinePairObjective, OnlineDPOTrainer, packPreferences, SPINTrainer, type OnlineDPOTrainerOptions, type SPINTrainerOptions } from './index';

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'espalier-online-dpo-'));
  await createModel(join(dir, 'model'), { config: { hiddenSize: 16, numLayers: 2, numHeads: 2, maxPositions: 64 }, tokenizer: characterTokenizer('0123456789+= '), seed: 1 });
});
afterAll(async () => rm(dir, { recursive: true, force: true }));

const countSevens = (text: string) => (text.match(/7/g) ?? []).length;
const sevens = defineReward({ name: 'sevens', score: async (samples) => samples.map(({ completion }) => countSevens(completion)) });
const judge: Judge = { specVersion: 'v1', name: 'likes_sevens', compare: async ({ first, second }) => (first === second ? null : { probability: 1 / (1 + Math.exp(3 * (countSevens(second) - countSevens(first)))) }) };
const rows = Array.from({ length: 16 }, (_, i) => ({ prompt: `${i}+${i}=` }));

type Args = NonNullable<OnlineDPOTrainerOptions['args']>;
const online = (name: string, args: Args = {}, more: Partial<Omit<OnlineDPOTrainerOptions, 'args'>> = {}) =>
  new OnlineDPOTrainer({
    model: join(dir, 'model'), ...(more.judge ? {} : { rewardFuncs: sevens }), trainDataset: rows, inline: true,
    args: { outputDir: join(dir, name), maxSteps: 6, perDeviceTrainBatchSize: 8, maxNewTokens: 4, maxLength: 32, temperature: 1, learningRate: 3e-3, loggingSteps: 2, saveSteps: 2, ...args },
    ...more,
  });
const demonstrations = Array.from({ length: 16 }, (_, i) => ({ prompt: `${i}+${i}=`, completion: '77' }));
const spin = (name: string, args: SPINTrainerOptions['args'] = {}, more: Partial<SPINTrainerOptions> = {}) =>
  new SPINTrainer({
    model: join(dir, 'model'), trainDataset: demonstrations, inline: true,
    args: { outputDir: join(dir, name), maxSteps: 6, iterationSteps: 2, perDeviceTrainBatchSize: 8, maxNewTokens: 4, maxLength: 32, learningRate: 3e-3, loggingSteps: 2, saveSteps: 2, ...args },
    ...more,
  });
type Train = (name: string, callbacks: { onStep: (progress: { step: number }, metrics: Metrics) => void }[]) => OnlineDPOTrainer | SPINTrainer;
const weights = async (name: string) => (await readFile(join(dir, name, 'checkpoints', 'step-000006', 'model.safetensors'))).toString('base64');

describe('OnlineDPOTrainer', () => {
  it.each(['reward', 'judge'] as const)('learns what a %s prefers, and logs it under TRL\'s names', async (kind) => {
    const run = online(`learns-${kind}`, { maxSteps: 40, learningRate: 1e-2, saveStrategy: 'no', missingEosPenalty: 0.1 }, { evalDataset: rows, ...(kind === 'judge' ? { judge } : {}) });
    const { metrics } = await run.train();
    const engine = await openEngine({ model: join(dir, 'model'), inline: true });
    const before = new OnlineDPOTrainer({ model: engine, rewardFuncs: sevens, trainDataset: rows, evalDataset: rows, args: { maxNewTokens: 4, maxLength: 32 } });
    const untrained = await before.evaluate({ samples: 4 });
    await before.close();
    await engine.close();
    await run.saveModel(join(dir, `trained-${kind}`));
    await run.close();
    const after = new OnlineDPOTrainer({ model: join(dir, `trained-${kind}`), rewardFuncs: sevens, trainDataset: rows, evalDataset: rows, inline: true, args: { maxNewTokens: 4, maxLength: 32 } });
    expect((await after.evaluate({ samples: 4 })).reward).toBeGreaterThan(untrained.reward + 1);
    await after.close();
    const names = [
      'objective/kl', 'objective/entropy', 'objective/non_score_reward', 'objective/rlhf_reward', 'objective/scores', 'objective/scores_margin', 'rewards/chosen', 'rewards/rejected', 'rewards/accuracies',
      'rewards/margins', 'logps/chosen', 'logps/rejected', 'val/contain_eos_token', 'beta', 'loss', 'grad_norm', 'learning_rate',
    ];
    for (const name of names) expect(metrics, name).toHaveProperty([name]);
  });

  it('moves β from epoch to epoch', async () => {
    const betas: number[] = [];
    const run = online('betas', { beta: [0.1, 0.3], numTrainEpochs: 3, maxSteps: -1, saveStrategy: 'no' }, { callbacks: [{ onStep: (_, metrics) => void betas.push(metrics.beta) }] });
    await run.train();
    await run.close();
    expect(betas.map((beta) => Math.round(beta * 1e6) / 1e6)).toEqual([0.1, 0.1, 0.3, 0.3, 0.3, 0.3]); // 16 prompts, 8 a step
  });

  it('iterates: a reference that becomes the policy takes all margin away', async () => {
    const margins: number[] = [];
    const run = online('iterates', { syncRefModel: true, refModelSyncSteps: 2, learningRate: 1e-2, saveStrategy: 'no' }, { callbacks: [{ onStep: (_, metrics) => void margins.push(metrics['rewards/margins']) }] });
    await run.train();
    await run.close();
    for (const step of [0, 2, 4]) expect(Math.abs(margins[step])).toBeLessThan(1e-5);
    for (const step of [1, 3, 5]) expect(Math.abs(margins[step])).toBeGreaterThan(1e-3);
  });

  it.each([
    [() => new OnlineDPOTrainer({ model: 'm', trainDataset: rows }), /neither `rewardFuncs` nor `judge`/],
    [() => online('bad', {}, { judge, rewardFuncs: sevens }), /both `rewardFuncs` and `judge`/],
    [() => online('bad', { numGenerations: 4 as never }), /`num_generations`: a pair is two completions/],
    [() => online('bad', { maxNewTokens: 64 }), /`max_new_tokens` 64 leaves no room/],
    [() => online('bad', { missingEosPenalty: -1 }), /`missing_eos_penalty`: .*found -1/],
    [() => online('bad', { syncRefModel: true }, { modelArgs: { usePeft: true } }), /without its adapter/],
  ])('what cannot be is named: %#', (call, message) => expect(call).toThrow(message));
});

describe('SPINTrainer', () => {
  it('prefers the demonstrations to what the iterate before writes, until it writes most of them', async () => {
    const run = spin('spin-learns', { maxSteps: 100, iterationSteps: 5, perDeviceTrainBatchSize: 16, beta: 1, learningRate: 5e-3, saveStrategy: 'no' }, { evalDataset: demonstrations });
    const before = await run.evaluate({ samples: 4 });
    await run.train();
    const after = await run.evaluate({ samples: 4 });
    await run.close();
    expect(after.reward).toBeGreaterThan(before.reward + 0.5);
  });

  it('is its own opponent anew after every iteration', async () => {
    const margins: number[] = [];
    const run = spin('spin-iterates', { maxSteps: 6, learningRate: 1e-2, saveStrategy: 'no' }, { callbacks: [{ onStep: (_, metrics) => void margins.push(metrics['rewards/margins']) }] });
    await run.train();
    await run.close();
    for (const step of [0, 2, 4]) expect(Math.abs(margins[step])).toBeLessThan(1e-5);
    for (const step of [1, 3, 5]) expect(margins[step]).toBeGreaterThan(1e-3);
  });

  it('takes conversations, and rows without a demonstration are named', async () => {
    const run = spin('spin-bad', {}, { trainDataset: [{ prompt: '1+1=' }] });
    await expect(run.train()).rejects.toMatchObject({ code: 'bad_data', message: expect.stringMatching(/`completion`/) as string });
    await run.close();
    expect(() => spin('bad', {}, { modelArgs: { usePeft: true } })).toThrow(/`use_peft`/);
    expect(() => spin('bad', { iterationSteps: 3, numIterations: 2 })).toThrow(/`iteration_steps` 3 is not divisible by `num_iterations` 2/);
  });
});

describe('runs', () => {
  const kinds: [string, Train][] = [
    ['online', (name, callbacks) => online(name, {}, { callbacks })],
    ['judged', (name, callbacks) => online(name, {}, { callbacks, judge })],
    ['iterative', (name, callbacks) => online(name, { syncRefModel: true, refModelSyncSteps: 2, refModelMixupAlpha: 0.7, beta: [0.1, 0.5] }, { callbacks })],
    ['spin', (name, callbacks) => spin(name, {}, { callbacks })],
    ['spin-passes', (name, callbacks) => spin(name, { numIterations: 2, gradientAccumulationSteps: 2, perDeviceTrainBatchSize: 4 }, { callbacks })],
  ];
  it.each(kinds)('%s goes on after an interruption to the same bytes', async (kind, make) => {
    const straight = make(`${kind}-straight`, []);
    await straight.train();
    await straight.close();
    const controller = new AbortController();
    const first = make(`${kind}-stopped`, [{ onStep: ({ step }) => void (step === 3 && controller.abort()) }]);
    await expect(first.train({ signal: controller.signal })).rejects.toMatchObject({ code: 'aborted' });
    await first.close();
    const second = make(`${kind}-stopped`, []);
    await second.train({ resume: true });
    await second.close();
    expect(await weights(`${kind}-stopped`)).toBe(await weights(`${kind}-straight`));
  });

  it('micro-batches add up: 8 × 1 is 1 × 8', async () => {
    const norms = async (name: string, perDeviceTrainBatchSize: number, gradientAccumulationSteps: number) => {
      const list: number[] = [];
      const run = online(name, { perDeviceTrainBatchSize, gradientAccumulationSteps, maxSteps: 3, learningRate: 1e-3, saveStrategy: 'no' }, { callbacks: [{ onStep: (_, { loss, grad_norm }) => void list.push(loss, grad_norm) }] });
      await run.train();
      await run.close();
      return list;
    };
    const [whole, parts] = [await norms('whole', 8, 1), await norms('parts', 1, 8)];
    whole.forEach((value, i) => expect(parts[i]).toBeCloseTo(value, 4));
  });

  it.each(['online', 'spin'] as const)('%s holds no tensor longer at the last step than at the second', async (kind) => {
    const engine = await openEngine({ model: join(dir, 'model'), inline: true, reference: true });
    const counts: number[] = [];
    const more = { model: engine, callbacks: [{ onStep: async () => void counts.push((await engine.memory()).numTensors) }] };
    const run = kind === 'online' ? online('leak', { maxSteps: 8, saveStrategy: 'no' }, more) : spin('leak-spin', { maxSteps: 8, saveStrategy: 'no' }, more);
    await run.train();
    await run.close();
    expect(counts.slice(1)).toEqual(new Array(7).fill(counts[1]));
    await engine.close();
  });
});

describe('onlineDpo', () => {
  const trajectory = (id: string, completion: number[], reward: number | null, finishReason: 'stop' | 'length' = 'stop'): ScoredTrajectory => ({
    id, group: 'g', seed: 1, tokens: Int32Array.of(5, 6, ...completion), trainable: Uint8Array.of(0, 0, ...completion.map(() => 1)), samplerLogps: null, versions: [], turns: [], finishReason, rewards: { r: reward },
  });
  const learner = { forward: async (batch: { actionIndex: Int32Array }) => ({ logps: new Float32Array(batch.actionIndex.length).fill(-1) }) } as unknown as Learner;
  const context = { step: 0, learner, rewardWeights: {}, maxCompletionLength: 4, temperature: 0.9 };

  it('chooses the higher reward, the first of a tie, and takes the penalty off what did not end', async () => {
    const algorithm = onlineDpo({ missingEosPenalty: 2, maxNewTokens: 4 });
    const { batch, metrics } = await algorithm.experience([[trajectory('a', [1], 0.5), trajectory('b', [2, 3], 1)], [trajectory('c', [4], 1), trajectory('d', [7], 1)], [trajectory('e', [8], 3, 'length'), trajectory('f', [9], 1.5)], [trajectory('h', [8], null), trajectory('i', [9], 1)]], context);
    const sequence = (s: number) => [...batch.tokens.subarray(batch.offsets[s], batch.offsets[s + 1])];
    expect(Array.from(batch.pairs!, sequence)).toEqual([[2, 3], [1], [4], [7], [9], [8]]);
    expect(metrics['objective/unranked_pairs']).toBe(1);
    expect(metrics['objective/scores_margin']).toBeCloseTo((0.5 + 0 + 0.5) / 3, 12);
    expect([...batch.columns.scores]).toEqual([1, 1, 0.5, 1, 1, 1.5, 1]);
    expect(batch.normalizer.sequences).toBe(6);
  });

  it('says when nothing could be ranked', async () => {
    await expect(onlineDpo({ maxNewTokens: 4 }).experience([[trajectory('a', [1], null), trajectory('b', [2], null)]], context)).rejects.toThrow(/none of 1 pairs could be ranked/);
  });

  it('cuts the left of a prompt that is too long', async () => {
    const { batch } = await onlineDpo({ maxNewTokens: 2, maxLength: 3 }).experience([[trajectory('a', [1, 2], 1), trajectory('b', [3], 0)]], context);
    expect([...batch.tokens]).toEqual([6, 1, 2, 3]);
  });

  it('has the losses of TRL: sigmoid, and ipo on sums', () => {
    const batch = packPreferences([{ prompt: Int32Array.of(1), chosen: Int32Array.of(2, 3), rejected: Int32Array.of(4) }, { prompt: Int32Array.of(1), chosen: Int32Array.of(2), rejected: Int32Array.of(4, 5) }]);
    const logps = Float32Array.of(-1, -2, -0.5, -1.5, -2, -0.25);
    const refLogps = Float32Array.of(-1.5, -1.75, -0.75, -1, -2.5, -0.5);
    const whole = { ...batch, columns: { refLogps, beta: new Float32Array(6).fill(0.25) } };
    const inputs = { chosenLogps: [-3, -1.5], rejectedLogps: [-0.5, -2.25], refChosenLogps: [-3.25, -1], refRejectedLogps: [-0.75, -3] };
    expect(onlinePairObjective('online_dpo', 'sigmoid').evaluate({ logps }, whole).loss).toBeCloseTo(dpoLoss(inputs, { beta: 0.25 }).loss, 6);
    const margins = inputs.chosenLogps.map((c, i) => c - inputs.rejectedLogps[i] - (inputs.refChosenLogps[i] - inputs.refRejectedLogps[i]));
    const ipo = margins.reduce((sum, margin) => sum + (margin - 1 / (2 * 0.25)) ** 2, 0) / 2;
    expect(onlinePairObjective('online_dpo', 'ipo').evaluate({ logps }, whole).loss).toBeCloseTo(ipo, 6);
  });
});

it('judgeReward gives each completion its chance against the others, and null where there is no answer', async () => {
  const sample = (group: string, completion: string) => ({ prompt: 'p', completion, completionTokens: new Int32Array(1), finishReason: 'stop' as const, group, row: {} });
  const found = await judgeReward(judge).score([sample('a', '7'), sample('a', '1'), sample('b', '2'), sample('c', '3'), sample('c', '3')], { step: 0 });
  expect(found[0]).toBeGreaterThan(0.9);
  expect((found[0] as number) + (found[1] as number)).toBeCloseTo(1, 12);
  expect(found.slice(2)).toEqual([null, null, null]);
  const pair = [sample('a', '7'), sample('a', '1')];
  await expect(judgeReward({ ...judge, compare: async () => ({ probability: 2 }) }).score(pair, { step: 0 })).rejects.toThrow(/"likes_sevens" gave the probability 2/);
  await expect(judgeReward({ ...judge, compareAll: async () => [] }).score(pair, { step: 0 })).rejects.toThrow(/0 answers to 1 questions/);
});

it('refuses episodes of several turns: what an environment said is not the policy\'s', async () => {
  const trajectory = (id: string): ScoredTrajectory => ({ id, group: 'g', seed: 1, tokens: Int32Array.of(1, 2, 3, 4), trainable: Uint8Array.of(0, 1, 0, 1), samplerLogps: null, versions: [], turns: [], finishReason: 'stop', rewards: { r: id === 'a' ? 1 : 0 } });
  const context = { step: 0, learner: null as never, rewardWeights: {}, maxCompletionLength: 4, temperature: 1 };
  await expect(onlineDpo().experience([[trajectory('a'), trajectory('b')]], context)).rejects.toMatchObject({ code: 'unsupported', message: expect.stringContaining('trajectory a is an episode of several turns') });
});
