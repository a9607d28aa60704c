import { cp, mkdtemp, readFile, readdir, readlink, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineAlgorithm, defineReward, type ScoredTrajectory } from '@espalier/spec';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BigramPolicy, sequencesBatch, weightedNll } from '../test/bigram-policy';
import { parseArguments, trainingArguments, type TrainingArgumentsInput } from './arguments';
import { trainOffline } from './offline';
import { trainOnline } from './online';
import { onlineArguments, type OnlineArgumentsInput } from './online-arguments';
import { deriveSeed } from './seeds';
import type { TrainerCallback } from './callbacks';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'espalier-trainer-'));
});
afterEach(async () => rm(dir, { recursive: true, force: true }));

const examples = Array.from({ length: 22 }, (_, i) => Array.from({ length: 4 + (i % 3) }, (_, j) => deriveSeed(3, i, j) % 5));
const heldOut = [[1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 2]];

function offline(policy: BigramPolicy, input: TrainingArgumentsInput, more: { signal?: AbortSignal; callbacks?: TrainerCallback[]; evaluate?: boolean } = {}) {
  return trainOffline({
    learner: policy.learner,
    objective: weightedNll,
    examples,
    collate: sequencesBatch,
    evalExamples: more.evaluate === false ? undefined : heldOut,
    args: parseArguments(trainingArguments, { learningRate: 0.05, perDeviceTrainBatchSize: 3, gradientAccumulationSteps: 2, loggingSteps: 3, saveSteps: 4, evalSteps: 5, ...input }),
    callbacks: more.callbacks,
    signal: more.signal,
  });
}

/** Reward: how many 3s; advantages: reward minus the group's mean. Two passes over each generation. */
const countThrees = defineReward({ name: 'threes', score: async (samples) => samples.map(({ completion }) => (completion.match(/3/g) ?? []).length) });
function reinforce(numIterations: number) {
  return defineAlgorithm({
    name: 'reinforce',
    objective: weightedNll,
    numIterations,
    needsReference: false,
    async experience(groups) {
      const tokens: number[] = [];
      const offsets = [0];
      const prefixOf: number[] = [];
      const actions: number[] = [];
      const advantages: number[] = [];
      const total = (t: ScoredTrajectory) => Number(Object.values(t.rewards)[0]);
      for (const group of groups) {
        const mean = group.reduce((sum, t) => sum + total(t), 0) / group.length;
        const start = group[0].trainable.indexOf(1);
        const prefix = offsets.length - 1;
        tokens.push(...group[0].tokens.subarray(0, start));
        offsets.push(tokens.length);
        prefixOf.push(-1);
        for (const trajectory of group) {
          for (const token of trajectory.tokens.subarray(start)) {
            actions.push(tokens.length);
            advantages.push(total(trajectory) - mean);
            tokens.push(token);
          }
          offsets.push(tokens.length);
          prefixOf.push(prefix);
        }
      }
      const batch = {
        tokens: Int32Array.from(tokens), offsets: Int32Array.from(offsets), prefixOf: Int32Array.from(prefixOf), actionIndex: Int32Array.from(actions),
        columns: { advantages: Float32Array.from(advantages) }, normalizer: { tokens: actions.length, sequences: groups.flat().length },
      };
      return { batch, metrics: { reward: groups.flat().reduce((sum, t) => sum + total(t), 0) / groups.flat().length } };
    },
  });
}

function online(policy: BigramPolicy, input: OnlineArgumentsInput, more: { signal?: AbortSignal; callbacks?: TrainerCallback[]; reward?: typeof countThrees; numIterations?: number } = {}) {
  const prompts = Array.from({ length: 7 }, (_, i) => ({ row: { id: i }, prompt: `p${i}`, tokens: Int32Array.of(1 + (i % 4), (i * 3) % 5) }));
  return trainOnline({
    learner: policy.learner,
    rollouts: policy.rollouts,
    algorithm: reinforce(more.numIterations ?? 1),
    rewards: [more.reward ?? countThrees],
    prompts: { size: prompts.length, at: (i) => prompts[i] },
    evalPrompts: prompts.slice(0, 3),
    args: parseArguments(onlineArguments, { learningRate: 0.05, perDeviceTrainBatchSize: 8, numGenerations: 4, maxCompletionLength: 6, maxSteps: 13, loggingSteps: 3, saveSteps: 4, evalSteps: 5, ...input }),
    callbacks: more.callbacks,
    signal: more.signal,
  });
}

const withoutTimes = (text: string) => text.split('\n').filter(Boolean).map((line) => Object.fromEntries(Object.entries(JSON.parse(line) as object).filter(([name]) => !/_(run)?time$/.test(name))));
const read = async (name: string) => withoutTimes(await readFile(join(dir, name), 'utf8'));
const bytes = (policy: BigramPolicy) => Buffer.from(policy.weights.buffer).toString('hex');
const checkpoints = async (run: string) => (await readdir(join(dir, run, 'checkpoints'))).sort();

/** An error that stands for the end of the process: nothing that comes after it is run on the same objects. */
class Killed extends Error {}

describe('resume', () => {
  // At every call of the learner, saving included, the process dies; what is on the disk then goes on in new objects.
  const dieAt = (policy: BigramPolicy, moment: number) => {
    let dead = false;
    policy.before = () => {
      if (dead || policy.calls.length === moment) {
        dead = true; // a dead process does nothing more: whatever the loop tries on its way out fails too
        throw new Killed();
      }
    };
  };

  it.each(['offline', 'online'] as const)('%s: killed at any call, a run ends with the same weights and metrics', async (kind) => {
    const run = (policy: BigramPolicy, outputDir: string, resume: boolean): Promise<unknown> => {
      const input = { outputDir: join(dir, outputDir), resumeFromCheckpoint: resume, logCompletions: true };
      return kind === 'online' ? online(policy, { ...input, evalOnStart: true }) : offline(policy, { outputDir: input.outputDir, resumeFromCheckpoint: resume, evalOnStart: true });
    };
    const straight = new BigramPolicy(5);
    await run(straight, 'straight', false);
    const calls = straight.calls.length;
    expect(calls).toBeGreaterThan(30);
    const metrics = await read('straight/metrics.jsonl');
    for (let moment = 1; moment <= calls; moment++) {
      const name = `killed-${moment}`;
      const first = new BigramPolicy(5);
      dieAt(first, moment);
      await expect(run(first, name, false)).rejects.toThrow();
      const second = new BigramPolicy(5);
      await run(second, name, true);
      expect(bytes(second), `killed at call ${moment}: ${straight.calls[moment - 1]}`).toBe(bytes(straight));
      expect(await read(`${name}/metrics.jsonl`)).toEqual(metrics);
      if (kind === 'online') expect(await read(`${name}/samples.jsonl`)).toEqual(await read('straight/samples.jsonl'));
      expect(await checkpoints(name)).toEqual(await checkpoints('straight'));
    }
  });

  it('passes over unfinished folders and removes them', async () => {
    const policy = new BigramPolicy(5);
    await offline(policy, { outputDir: join(dir, 'run'), maxSteps: 4 });
    const folder = join(dir, 'run', 'checkpoints');
    const { mkdir, rename } = await import('node:fs/promises');
    await mkdir(join(folder, '.writing-step-000008'));
    await writeFile(join(folder, '.writing-step-000008', 'weights.bin'), 'half');
    await mkdir(join(folder, '.removing-step-000002'));
    await rename(join(folder, 'step-000004'), join(folder, '.replaced-step-000004')); // killed between the two renames of a rewrite
    const resumed = new BigramPolicy(5);
    await offline(resumed, { outputDir: join(dir, 'run'), maxSteps: 4, resumeFromCheckpoint: true });
    expect(bytes(resumed)).toBe(bytes(policy));
    expect(await checkpoints('run')).toEqual(['latest', 'step-000004']);
  });

  it('refuses another configuration and names the field, but lets lengths and logging change', async () => {
    const outputDir = join(dir, 'run');
    await offline(new BigramPolicy(5), { outputDir, maxSteps: 4 });
    await expect(offline(new BigramPolicy(5), { outputDir, maxSteps: 4, learningRate: 0.1, resumeFromCheckpoint: true })).rejects.toThrow(/`learning_rate` was 0.05 and is now 0.1/);
    await expect(offline(new BigramPolicy(5), { outputDir, maxSteps: 4 })).rejects.toThrow(/holds a run already/);
    const { step } = await offline(new BigramPolicy(5), { outputDir, maxSteps: 6, loggingSteps: 1, saveSteps: 5, resumeFromCheckpoint: true });
    expect(step).toBe(6);
    expect(await checkpoints('run')).toEqual(['best', 'latest', 'step-000004', 'step-000005', 'step-000006']); // step 5 was evaluated
  });

  it('goes back to an older checkpoint when files of the newest are gone, and says so when none is whole', async () => {
    const outputDir = join(dir, 'run');
    const policy = new BigramPolicy(5);
    await offline(policy, { outputDir, maxSteps: 8 });
    await rm(join(outputDir, 'checkpoints/step-000008/weights.bin'));
    const resumed = new BigramPolicy(5);
    await offline(resumed, { outputDir, maxSteps: 8, resumeFromCheckpoint: true });
    expect(bytes(resumed)).toBe(bytes(policy));
    await rm(join(outputDir, 'checkpoints/step-000008/weights.bin'));
    await rm(join(outputDir, 'checkpoints/step-000004/weights.bin'));
    await expect(offline(new BigramPolicy(5), { outputDir, maxSteps: 8, resumeFromCheckpoint: true })).rejects.toThrow(/weights\.bin is missing/);
  });
});

describe('stopping', () => {
  it.each([1, 3, 6])('an abort during step %i saves, says how to go on, and the rest is the same', async (at) => {
    const straight = new BigramPolicy(5);
    await online(straight, { outputDir: join(dir, 'straight') });
    const controller = new AbortController();
    const first = new BigramPolicy(5);
    let updates = 0;
    first.before = (call) => {
      if (call === 'forwardBackward' && ++updates === at) controller.abort();
      if (call === 'forwardBackward' && controller.signal.aborted) throw new Error('aborted by the signal');
    };
    const error: unknown = await online(first, { outputDir: join(dir, 'run') }, { signal: controller.signal }).catch((e: unknown) => e);
    expect(error).toMatchObject({ code: 'aborted', message: expect.stringContaining(`stopped after step ${at - 1} of 13`) as string });
    if (at > 1) expect(error).toMatchObject({ message: expect.stringContaining('--resume') as string });
    const second = new BigramPolicy(5);
    await online(second, { outputDir: join(dir, 'run'), resumeFromCheckpoint: true });
    expect(bytes(second)).toBe(bytes(straight));
    expect(await read('run/metrics.jsonl')).toEqual(await read('straight/metrics.jsonl'));
    expect(await read('run/samples.jsonl')).toEqual(await read('straight/samples.jsonl'));
  });

  it('an abort during evaluation evaluates after the resume', async () => {
    const straight = new BigramPolicy(5);
    await online(straight, { outputDir: join(dir, 'straight') });
    const controller = new AbortController();
    const first = new BigramPolicy(5);
    let generations = 0;
    first.before = (call) => {
      if (call === 'generate' && ++generations === 6) controller.abort(); // five rounds, then the evaluation of step 5
    };
    await expect(online(first, { outputDir: join(dir, 'run') }, { signal: controller.signal })).rejects.toMatchObject({ code: 'aborted' });
    const second = new BigramPolicy(5);
    await online(second, { outputDir: join(dir, 'run'), resumeFromCheckpoint: true });
    expect(bytes(second)).toBe(bytes(straight));
    expect(await read('run/metrics.jsonl')).toEqual(await read('straight/metrics.jsonl'));
  });

  it('a callback may end the run, and hears of everything', async () => {
    const heard: string[] = [];
    const result = await offline(new BigramPolicy(5), { outputDir: join(dir, 'run'), loggingSteps: 2, evalSteps: 2, saveSteps: 2, maxSteps: 9 }, {
      callbacks: [{
        onTrainBegin: () => void heard.push('begin'),
        onStep: ({ step }, metrics, control) => {
          heard.push(`step ${step}`);
          expect(metrics.loss).toBeGreaterThan(0);
          if (step === 3) control.stop();
        },
        onLog: ({ step }, { learning_rate }) => void heard.push(`log ${step} ${learning_rate.toFixed(4)}`),
        onEvaluate: ({ step }) => void heard.push(`evaluate ${step}`),
        onSave: ({ step }) => void heard.push(`save ${step}`),
        onEnd: () => void heard.push('end'),
      }],
    });
    expect(result).toMatchObject({ step: 3, stopped: true });
    expect(heard).toEqual(['begin', 'step 1', 'step 2', 'log 2 0.0444', 'evaluate 2', 'save 2', 'step 3', 'log 3 0.0389', 'save 3', 'end']);
  });

  it('a reward function that throws is named, and the steps before it are kept', async () => {
    let rounds = 0;
    const reward = defineReward({
      name: 'fragile',
      score: async (samples) => {
        if (++rounds > 3) throw new Error('the service is down');
        return samples.map(() => 1);
      },
    });
    await expect(online(new BigramPolicy(5), { outputDir: join(dir, 'run'), evalSteps: undefined }, { reward })).rejects.toThrow(/reward function "fragile" failed at step 3: the service is down/);
    expect(await checkpoints('run')).toContain('step-000003');
  });

  it.each(['save:begin', 'save:middle', 'save:end'])('a full disk at %s loses nothing', async (moment) => {
    const policy = new BigramPolicy(5);
    let saves = 0;
    policy.before = (call) => {
      if (call === 'save:begin') saves++;
      if (call === moment && saves === 2) throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
    };
    const error: unknown = await offline(policy, { outputDir: join(dir, 'run') }).catch((e: unknown) => e);
    expect(error).toMatchObject({ code: 'no_space', message: expect.stringMatching(/checkpoint of step 8 .*untouched/) as string });
    expect(await checkpoints('run')).toEqual(['latest', 'step-000004']);
    const [straight, resumed] = [new BigramPolicy(5), new BigramPolicy(5)];
    await offline(straight, { outputDir: join(dir, 'straight') });
    await offline(resumed, { outputDir: join(dir, 'run'), resumeFromCheckpoint: true });
    expect(bytes(resumed)).toBe(bytes(straight));
  });
});

describe('steps', () => {
  it('accumulation changes nothing: 8 × 1 is 1 × 8', async () => {
    const run = async (perDeviceTrainBatchSize: number, gradientAccumulationSteps: number) => {
      const policy = new BigramPolicy(5);
      const outputDir = join(dir, `${perDeviceTrainBatchSize}x${gradientAccumulationSteps}`);
      await offline(policy, { outputDir, perDeviceTrainBatchSize, gradientAccumulationSteps, maxSteps: 6, loggingSteps: 1 });
      return { policy, metrics: await read(`${perDeviceTrainBatchSize}x${gradientAccumulationSteps}/metrics.jsonl`) };
    };
    const [whole, parts] = [await run(8, 1), await run(1, 8)];
    parts.policy.weights.forEach((w, i) => expect(w).toBeCloseTo(whole.policy.weights[i], 6));
    parts.metrics.forEach((record, i) => expect(record.loss ?? record.eval_loss).toBeCloseTo(Number(whole.metrics[i].loss ?? whole.metrics[i].eval_loss), 6));
  });

  it('online: micro-batches of completions add up to the step', async () => {
    const run = async (perDeviceTrainBatchSize: number, gradientAccumulationSteps: number) => {
      const policy = new BigramPolicy(5);
      await online(policy, { outputDir: join(dir, `${perDeviceTrainBatchSize}`), perDeviceTrainBatchSize, gradientAccumulationSteps, maxSteps: 5 });
      return policy.weights;
    };
    const whole = await run(16, 1);
    for (const size of [8, 4, 2]) (await run(size, 16 / size)).forEach((w, i) => expect(w).toBeCloseTo(whole[i], 6));
  });

  it('a generation may serve several steps, several times over', async () => {
    const policy = new BigramPolicy(5);
    await online(policy, { outputDir: join(dir, 'run'), perDeviceTrainBatchSize: 4, stepsPerGeneration: 4, maxSteps: 16, evalSteps: undefined, saveSteps: 6 }, { numIterations: 2 });
    const count = (call: string) => policy.calls.filter((c) => c === call).length;
    expect([count('generate'), count('forwardBackward'), count('optimStep')]).toEqual([2, 16, 16]);
    expect(await checkpoints('run')).toEqual(['latest', 'step-000008', 'step-000016']); // between rounds only
    await expect(online(new BigramPolicy(5), { outputDir: join(dir, 'odd'), perDeviceTrainBatchSize: 6 })).rejects.toThrow('`per_device_train_batch_size` 6 is not divisible by `num_generations` 4 (4 or 8 would be)');
  });

  it('learns what is rewarded', async () => {
    const policy = new BigramPolicy(5);
    const { metrics } = await online(policy, { outputDir: join(dir, 'run'), maxSteps: 60, learningRate: 0.2, lrSchedulerType: 'constant', saveStrategy: 'no', evalSteps: undefined });
    expect(metrics.reward).toBeGreaterThan(5); // of 6 tokens; about 1 by chance
  });

  it('ends epochs with a smaller step, or drops what does not fill a batch', async () => {
    const sizes: number[] = [];
    const spied = (input: TrainingArgumentsInput) => trainOffline({
      learner: new BigramPolicy(5).learner, objective: weightedNll, examples,
      collate: (batch) => (sizes.push(batch.length), sequencesBatch(batch)),
      args: parseArguments(trainingArguments, { outputDir: join(dir, String(sizes.length)), perDeviceTrainBatchSize: 8, numTrainEpochs: 2, saveStrategy: 'no', ...input }),
    });
    const { step } = await spied({});
    expect([step, sizes]).toEqual([6, [8, 8, 6, 8, 8, 6]]);
    sizes.length = 0;
    sizes.push(0);
    await spied({ dataloaderDropLast: true });
    expect(sizes.slice(1)).toEqual([8, 8, 8, 8]);
  });

  it('keeps the newest checkpoints and the best one', async () => {
    let value = 0;
    const result = await trainOffline({
      learner: new BigramPolicy(5).learner, objective: weightedNll, examples, collate: sequencesBatch,
      evaluate: async ({ step }) => ({ score: (value = step === 4 ? 9 : step / 10) }),
      args: parseArguments(trainingArguments, { outputDir: join(dir, 'run'), perDeviceTrainBatchSize: 8, maxSteps: 10, saveSteps: 2, evalSteps: 2, saveTotalLimit: 2, metricForBestModel: 'score', learningRate: 0.01 }),
    });
    expect(value).toBe(1);
    expect(result.best).toEqual({ metric: 'eval_score', value: 9, step: 4 });
    expect(await checkpoints('run')).toEqual(['best', 'latest', 'step-000004', 'step-000008', 'step-000010']);
    expect(await readlink(join(dir, 'run/checkpoints/best'))).toBe('step-000004');
    expect(await readlink(join(dir, 'run/checkpoints/latest'))).toBe('step-000010');
  });
});

describe('resuming a run that was killed after its last checkpoint', () => {
  it('removes the checkpoints that are over the limit', async () => {
    const args = { outputDir: join(dir, 'run'), maxSteps: 8, saveSteps: 2, saveTotalLimit: 2 };
    await offline(new BigramPolicy(5), args);
    const left = await checkpoints('run');
    await cp(join(dir, 'run/checkpoints/step-000006'), join(dir, 'run/checkpoints/step-000004'), { recursive: true });
    await offline(new BigramPolicy(5), { ...args, resumeFromCheckpoint: true });
    expect(await checkpoints('run')).toEqual(left);
  });
});

describe('resuming from a checkpoint that is named', () => {
  it('goes on in the same folder from its newest, and branches off into another from any', async () => {
    const outputDir = join(dir, 'run');
    await offline(new BigramPolicy(5), { outputDir, maxSteps: 8 });
    const older = join(outputDir, 'checkpoints/step-000004');
    await expect(offline(new BigramPolicy(5), { outputDir, maxSteps: 8, resumeFromCheckpoint: older })).rejects.toThrow(/is step 4, and .* goes on to step 8 \(choose another `output_dir`/);
    const straight = new BigramPolicy(5);
    await offline(straight, { outputDir: join(dir, 'straight'), maxSteps: 8 });
    const branch = new BigramPolicy(5);
    const { step, checkpoint } = await offline(branch, { outputDir: join(dir, 'branch'), maxSteps: 8, resumeFromCheckpoint: older });
    expect(step).toBe(8);
    expect(checkpoint).toContain(join('branch', 'checkpoints'));
    expect(bytes(branch)).toBe(bytes(straight));
    expect((await read('branch/metrics.jsonl')).map((record) => record.step)).toEqual([5, 6, 8]);
    await expect(offline(new BigramPolicy(5), { outputDir: join(dir, 'other'), resumeFromCheckpoint: join(dir, 'nowhere') })).rejects.toMatchObject({ code: 'not_found' });
  });

  it('a run that has ended changes nothing when resumed', async () => {
    const outputDir = join(dir, 'run');
    await offline(new BigramPolicy(5), { outputDir, maxSteps: 5 });
    const before = await readFile(join(outputDir, 'metrics.jsonl'), 'utf8');
    const again = await offline(new BigramPolicy(5), { outputDir, maxSteps: 5, resumeFromCheckpoint: true });
    expect(again.step).toBe(5);
    expect(await readFile(join(outputDir, 'metrics.jsonl'), 'utf8')).toBe(before);
  });
});
