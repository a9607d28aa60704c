import { mkdir, mkdtemp, readFile, readdir, readlink, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineAlgorithm, defineReward, defineTracker, type Notice, type Tracker } from '@espalier/spec';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BigramPolicy, sequencesBatch, weightedNll } from '../test/bigram-policy';
import { parseArguments, trainingArguments, type TrainingArgumentsInput } from './arguments';
import { trainOffline, type TrainOfflineOptions } from './offline';
import { trainOnline } from './online';
import { onlineArguments, type OnlineArgumentsInput } from './online-arguments';
import { deriveSeed } from './seeds';

let dir: string;
beforeEach(async () => void (dir = await mkdtemp(join(tmpdir(), 'espalier-features-'))));
afterEach(async () => rm(dir, { recursive: true, force: true }));

const examples = Array.from({ length: 22 }, (_, i) => Array.from({ length: 4 + (i % 3) }, (_, j) => deriveSeed(3, i, j) % 5));
const train = (input: TrainingArgumentsInput, more: Partial<TrainOfflineOptions<number[]>> = {}) =>
  trainOffline({
    learner: new BigramPolicy(5).learner, objective: weightedNll, examples, collate: sequencesBatch, ...more,
    args: parseArguments(trainingArguments, { outputDir: join(dir, 'run'), perDeviceTrainBatchSize: 8, learningRate: 0.05, maxSteps: 12, saveStrategy: 'no', loggingSteps: 2, ...input }),
  });
const lines = async (name: string) => (await readFile(join(dir, name), 'utf8')).split('\n').filter(Boolean).map((line) => JSON.parse(line) as Record<string, unknown>);
const checkpoints = async () => (await readdir(join(dir, 'run/checkpoints'))).filter((name) => name.startsWith('step-')).map((name) => Number(name.slice(5)));

/** Held-out scores by step. */
const scores = (values: Record<number, number>) => ({ evaluate: async ({ step }: { step: number }) => ({ score: values[step] ?? 0 }) });

describe('early stopping', () => {
  const values = { 2: 0.1, 4: 0.5, 6: 0.4, 8: 0.45, 10: 0.9 };

  it('ends after so many evaluations without an improvement', async () => {
    const result = await train({ evalSteps: 2, metricForBestModel: 'score', earlyStoppingPatience: 2 }, scores(values));
    expect(result).toMatchObject({ step: 8, stopped: true });
    expect(await lines('run/log.jsonl')).toContainEqual(expect.objectContaining({ event: 'early-stop', step: 8, metric: 'eval_score', value: 0.45, best: 0.5 }));
    expect((await train({ evalSteps: 2, outputDir: join(dir, 'patient'), metricForBestModel: 'score', earlyStoppingPatience: 3 }, scores(values))).step).toBe(12);
  });

  it('an improvement within the threshold does not count', async () => {
    const creeping = Object.fromEntries([2, 4, 6, 8, 10, 12].map((step) => [step, step / 100]));
    expect((await train({ evalSteps: 2, metricForBestModel: 'score', earlyStoppingPatience: 3, earlyStoppingThreshold: 0.1 }, scores(creeping))).step).toBe(8);
  });

  it('remembers over an interruption, and a run that has ended stays ended', async () => {
    const controller = new AbortController();
    const input: TrainingArgumentsInput = { evalSteps: 2, saveStrategy: 'steps', saveSteps: 2, metricForBestModel: 'score', earlyStoppingPatience: 2 };
    await expect(train(input, { ...scores(values), signal: controller.signal, callbacks: [{ onStep: ({ step }) => void (step === 7 && controller.abort()) }] })).rejects.toMatchObject({ code: 'aborted' });
    expect((await train({ ...input, resumeFromCheckpoint: true }, scores(values))).step).toBe(8);
    expect((await train({ ...input, resumeFromCheckpoint: true }, scores(values))).step).toBe(8);
    expect((await train({ ...input, earlyStoppingPatience: 9, resumeFromCheckpoint: true }, scores(values))).step).toBe(12); // more patience goes on
  });

  it('needs an evaluation with that metric', async () => {
    await expect(train({ earlyStoppingPatience: 2 })).rejects.toThrow('`early_stopping_patience` needs an evaluation, and there is nothing to evaluate on');
    await expect(train({ earlyStoppingPatience: 2 }, scores({}))).rejects.toThrow('`eval_strategy` is no');
    await expect(train({ earlyStoppingPatience: 2, evalSteps: 2 }, scores({}))).rejects.toThrow(/the evaluation has no metric eval_loss .*eval_score/);
  });
});

describe('the best checkpoint', () => {
  const values = { 3: 0.2, 6: 0.7, 9: 0.3, 12: 0.6 };

  it('save_strategy best writes where an evaluation is the best so far, and loads it at the end', async () => {
    const policy = new BigramPolicy(5);
    const held: number[][] = [];
    const result = await train({ evalSteps: 3, saveStrategy: 'best', metricForBestModel: 'score', loadBestModelAtEnd: true }, { ...scores(values), learner: policy.learner, callbacks: [{ onStep: ({ step }) => void (step === 6 && held.push([...policy.weights])) }] });
    expect(await checkpoints()).toEqual([3, 6, 12]); // and the last
    expect(await readlink(join(dir, 'run/checkpoints/best'))).toBe('step-000006');
    expect(result.best).toEqual({ metric: 'eval_score', value: 0.7, step: 6 });
    expect([...policy.weights]).toEqual(held[0]);
    expect(result.checkpoint).toMatch(/step-000006$/);
  });

  it('a checkpoint without an evaluation could not be the best: the steps that would do are named', async () => {
    const input: TrainingArgumentsInput = { evalSteps: 3, loadBestModelAtEnd: true, metricForBestModel: 'score' };
    await expect(train({ ...input, saveStrategy: 'steps', saveSteps: 4 }, scores(values))).rejects.toThrow('`save_steps` 4 is not a multiple of `eval_steps` 3, so checkpoints would go without an evaluation (3 or 6 would be, or `save_strategy` best)');
    await expect(train({ ...input, saveStrategy: 'epoch' }, scores(values))).rejects.toThrow('`save_strategy` epoch and evaluated by `eval_strategy` steps');
    await expect(train({ saveStrategy: 'best' }, scores(values))).rejects.toThrow('`save_strategy` best needs an evaluation, and `eval_strategy` is no');
  });
});

function listening(heard: unknown[]): Tracker {
  return defineTracker({
    name: 'listening',
    start: ({ name, step, totalSteps }) => void heard.push(['start', name, step, totalSteps]),
    log: ({ step, kind, metrics }) => void heard.push([kind, step, Object.keys(metrics).includes(kind === 'eval' ? 'eval_score' : 'loss')]),
    samples: (step, samples) => void heard.push(['samples', step, samples.length]),
    notice: ({ name }) => void heard.push(['notice', name]),
    flush: () => void heard.push(['flush']),
    end: ({ step, error }) => void heard.push(['end', step, (error as Error | undefined)?.message]),
  });
}

describe('trackers', () => {
  it('hear of everything, in order', async () => {
    const heard: unknown[] = [];
    await train({ maxSteps: 4, evalSteps: 4, saveStrategy: 'steps', saveSteps: 4, runName: 'mine' }, { ...scores({}), trackers: [listening(heard)] });
    expect(heard).toEqual([['start', 'mine', 0, 4], ['train', 2, true], ['train', 4, true], ['eval', 4, true], ['flush'], ['end', 4, undefined]]);
    heard.length = 0;
    await train({ maxSteps: 6, evalSteps: 4, saveStrategy: 'steps', saveSteps: 4, resumeFromCheckpoint: true, runName: 'mine' }, { ...scores({}), trackers: [listening(heard)] });
    expect(heard).toEqual([['start', 'mine', 4, 6], ['train', 6, true], ['flush'], ['end', 6, undefined]]);
  });

  it('hear how a run failed; what one throws ends the run', async () => {
    const heard: unknown[] = [];
    const failing = { callbacks: [{ onStep: () => Promise.reject(new Error('enough')) }] };
    await expect(train({}, { ...failing, trackers: [listening(heard)] })).rejects.toThrow('enough');
    expect(heard.at(-1)).toEqual(['end', 1, 'enough']);
    const broken = defineTracker({ name: 'broken', log: () => Promise.reject(new Error('no connection')) });
    await expect(train({ outputDir: join(dir, 'b') }, { trackers: [broken] })).rejects.toThrow('no connection');
    await expect(train({ outputDir: join(dir, 'c') }, { trackers: [defineTracker({ name: 'late', log: () => undefined, end: () => Promise.reject(new Error('not sent')) })] })).rejects.toThrow('not sent');
  });

  it('report_to tensorboard writes event files into the run, or where logging_dir says', async () => {
    await train({ reportTo: 'tensorboard', maxSteps: 2 });
    expect(await readdir(join(dir, 'run/tensorboard'))).toEqual([expect.stringMatching(/^events\.out\.tfevents\./)]);
    await train({ reportTo: ['tensorboard'], loggingDir: join(dir, 'boards'), maxSteps: 2, outputDir: join(dir, 'other') });
    expect(await readdir(join(dir, 'boards'))).toHaveLength(1);
    await expect(train({ reportTo: 'wandb', outputDir: join(dir, 'w') })).rejects.toThrow('`report_to` "wandb": there is no such tracker');
  });
});

describe('on-policy runs', () => {
  const reward = defineReward({ name: 'threes', score: async (samples) => samples.map(({ completion }) => ({ total: completion.split('3').length - 1, components: { length: completion.length } })) });
  const constant = defineReward({ name: 'constant', score: async (samples) => samples.map(() => 1) });
  const algorithm = (advantages: boolean) =>
    defineAlgorithm({
      name: 'plain', objective: weightedNll, numIterations: 1, needsReference: false,
      async experience(groups) {
        const batch = sequencesBatch(groups.flat().map(({ tokens }) => [...tokens]));
        batch.columns.advantages = new Float32Array(batch.actionIndex.length).fill(0.1);
        return { batch, metrics: { reward: 1, frac_reward_zero_std: 1 }, ...(advantages ? { advantages: groups.map((group, g) => group.map((_, k) => (k === 3 ? null : g + k / 10))) } : {}) };
      },
    });
  const prompts = Array.from({ length: 7 }, (_, i) => ({ row: { id: i }, prompt: `p${i}`, tokens: Int32Array.of(1 + (i % 4), (i * 3) % 5) }));
  const online = (input: OnlineArgumentsInput, more: { notices?: Notice[]; trackers?: Tracker[]; advantages?: boolean; signal?: AbortSignal; stopAt?: (step: number) => void } = {}) => {
    const policy = new BigramPolicy(5);
    return trainOnline({
      learner: policy.learner, rollouts: policy.rollouts, algorithm: algorithm(more.advantages ?? true), rewards: [reward, constant], prompts: { size: 7, at: (i) => prompts[i] },
      args: parseArguments(onlineArguments, { outputDir: join(dir, 'run'), perDeviceTrainBatchSize: 8, numGenerations: 4, maxCompletionLength: 6, maxSteps: 12, learningRate: 1e-4, loggingSteps: 5, saveSteps: 3, ...input }),
      callbacks: [{ onNotice: (_, notice) => void more.notices?.push(notice), onStep: ({ step }) => more.stopAt?.(step) }], trackers: more.trackers, signal: more.signal,
    });
  };

  it('samples.jsonl holds prompts, completions, rewards with their parts, and advantages', async () => {
    const heard: unknown[] = [];
    await online({ maxSteps: 1 }, { trackers: [listening(heard)] });
    const samples = await lines('run/samples.jsonl');
    expect(samples).toHaveLength(8);
    const { completion, ...first } = samples[5];
    expect(first).toMatchObject({ step: 1, rewards: { constant: 1 }, components: { threes: { length: String(completion).length } }, advantage: 1.1 });
    expect(first.prompt).toMatch(/^p\d$/);
    expect(first.reward).toBe(Number((first.rewards as Record<string, number>).threes) + 1);
    expect(samples[3].advantage).toBe(null);
    expect(heard).toContainEqual(['samples', 1, 8]);
    await online({ maxSteps: 1, outputDir: join(dir, 'none') }, { advantages: false });
    expect((await lines('none/samples.jsonl'))[0]).not.toHaveProperty('advantage');
  });

  it('with log_completions it holds the log-probs of the tokens too', async () => {
    await online({ maxSteps: 1 });
    expect((await lines('run/samples.jsonl'))[0]).not.toHaveProperty('logps');
    await online({ maxSteps: 1, logCompletions: true, outputDir: join(dir, 'whole') });
    for (const sample of await lines('whole/samples.jsonl')) {
      expect(sample.logps).toHaveLength(sample.tokens as number);
      expect((sample.logps as number[]).every((logp) => logp <= 0)).toBe(true);
    }
  });

  it('leaves a page in its folder; one that cannot be written is told once, and fails nothing', async () => {
    await online({ maxSteps: 6, saveSteps: 2 });
    const page = await readFile(join(dir, 'run/report.html'), 'utf8');
    expect(page).toMatch(/^<!doctype html>/);
    expect(JSON.parse(/id="data">(.*?)<\/script>/s.exec(page)![1])).toMatchObject({ kind: 'run', stages: [{ status: 'done', run: { step: 6, totalSteps: 6, problems: [] } }] });
    await mkdir(join(dir, 'blocked/report.html/in-the-way'), { recursive: true });
    const notices: Notice[] = [];
    await online({ maxSteps: 6, saveSteps: 2, outputDir: join(dir, 'blocked') }, { notices });
    expect(notices.filter(({ name }) => name === 'report_not_written')).toMatchObject([{ level: 'note', message: expect.stringContaining('report.html could not be written') as string }]);
    expect((await readdir(join(dir, 'blocked'))).filter((name) => name.includes('.tmp'))).toEqual([]);
  });

  it('a notice is told once, in the log, to callbacks and trackers, over an interruption too', async () => {
    const notices: Notice[] = [];
    const heard: unknown[] = [];
    const controller = new AbortController();
    await expect(online({}, { notices, signal: controller.signal, stopAt: (step) => void (step === 8 && controller.abort()), trackers: [listening(heard)] })).rejects.toMatchObject({ code: 'aborted' });
    expect(notices.filter(({ name }) => name === 'groups_without_variance')).toEqual([]);
    await online({ resumeFromCheckpoint: true }, { notices, trackers: [listening(heard)] });
    const told = notices.filter(({ name }) => name === 'groups_without_variance');
    expect(told).toMatchObject([{ level: 'warning', step: 10, message: expect.stringContaining('100 % of the groups') as string }]);
    expect((await lines('run/log.jsonl')).filter(({ name }) => name === 'groups_without_variance')).toMatchObject([{ event: 'warning', step: 10 }]);
    expect(heard).toContainEqual(['notice', 'groups_without_variance']);
    expect((await lines('run/metrics.jsonl')).at(-1)).toHaveProperty('completions/repetition');
  });
});
