import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineObjective, defineReward, type Objective, type TokenBatch } from '@espalier/spec';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BigramPolicy } from '../test/bigram-policy';
import { parseArguments } from './arguments';
import type { TrainerCallback } from './callbacks';
import { trainOnline, type AuxiliaryLoss, type StatefulAlgorithm } from './online';
import { onlineArguments, type OnlineArgumentsInput } from './online-arguments';
import type { OwningAlgorithm } from './owned-learners';
import type { Update } from './round';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'espalier-owned-'));
});
afterEach(async () => rm(dir, { recursive: true, force: true }));

const nll = (scale: number): Objective =>
  defineObjective({
    name: 'nll', needs: ['logps'], coupling: 'token',
    evaluate: ({ logps }, { normalizer }) => ({
      loss: (-scale * logps!.reduce((a, b) => a + b, 0)) / normalizer.tokens,
      grads: { logps: new Float32Array(logps!.length).fill(-scale / normalizer.tokens) },
      metrics: { nll: { sum: -logps!.reduce((a, b) => a + b, 0), weight: logps!.length } },
    }),
  });

type Step = Pick<Update, 'enough' | 'summary'>;

/** Trains the policy away from what it sampled and a second learner towards it, in three optimiser steps a batch; counts batches as its state. */
function makeAlgorithm(step: Step = {}): OwningAlgorithm & StatefulAlgorithm {
  let batches = 0;
  return {
    specVersion: 'v1', name: 'two', objective: nll(-0.5), numIterations: 1, needsReference: false,
    experience: async (groups) => {
      batches++;
      const trajectories = groups.flat();
      const offsets = new Int32Array(trajectories.length + 1);
      trajectories.forEach(({ tokens }, i) => (offsets[i + 1] = offsets[i] + tokens.length));
      const tokens = Int32Array.from(trajectories.flatMap((t) => [...t.tokens]));
      const actionIndex = Int32Array.from(trajectories.flatMap((t, i) => [...t.trainable.keys()].filter((k) => t.trainable[k]).map((k) => offsets[i] + k)));
      const batch: TokenBatch = { tokens, offsets, actionIndex, columns: {}, normalizer: { tokens: actionIndex.length, sequences: trajectories.length } };
      return { batch, metrics: { batches } };
    },
    step(batch, { objective }) {
      const parts = [{ batch, objective }, { batch, objective: nll(1), learner: 'second', prefix: 'second/' }];
      return { parts, further: [parts, parts], ...step };
    },
    state: () => ({ batches }),
    restore: (state) => void ({ batches } = state as { batches: number }),
  };
}

const threes = defineReward({ name: 'threes', score: async (samples) => samples.map(({ completion }) => completion.length) });

function run(policy: BigramPolicy, second: BigramPolicy, input: OnlineArgumentsInput, more: { algorithm?: OwningAlgorithm & StatefulAlgorithm; callbacks?: TrainerCallback[]; signal?: AbortSignal; auxiliary?: AuxiliaryLoss[] } = {}) {
  const prompts = Array.from({ length: 7 }, (_, i) => ({ row: { id: i }, prompt: `p${i}`, tokens: Int32Array.of(1 + (i % 4), (i * 3) % 5) }));
  return trainOnline({
    learner: policy.learner, learners: [{ name: 'second', learner: second.learner, learningRateScale: 2 }], rollouts: policy.rollouts, algorithm: more.algorithm ?? makeAlgorithm(),
    rewards: [threes], prompts: { size: prompts.length, at: (i) => prompts[i] },
    args: parseArguments(onlineArguments, { learningRate: 0.05, lrSchedulerType: 'constant', perDeviceTrainBatchSize: 4, numGenerations: 2, maxCompletionLength: 4, maxSteps: 4, loggingSteps: 1, saveSteps: 2, ...input }),
    callbacks: more.callbacks, signal: more.signal, auxiliary: more.auxiliary,
  });
}
const bytes = (policy: BigramPolicy) => Buffer.from(policy.weights.buffer).toString('hex');

describe('an algorithm that owns a second learner', () => {
  it('steps both, several times a step of the run, and saves each into its own folder', async () => {
    const [policy, second] = [new BigramPolicy(5), new BigramPolicy(5)];
    const rates: number[] = [];
    const optimStep = second.learner.optimStep.bind(second.learner);
    second.learner.optimStep = (options, call) => (rates.push(options.learningRate), optimStep(options, call));
    const seen: Record<string, number>[] = [];
    const { step } = await run(policy, second, { outputDir: join(dir, 'run') }, { algorithm: makeAlgorithm({ summary: (taken) => ({ taken: taken.length }) }), callbacks: [{ onStep: (_, metrics) => void seen.push(metrics) }] });
    expect(step).toBe(4);
    expect(rates).toEqual(new Array(12).fill(0.1)); // twice the schedule's rate, three steps each
    for (const name of ['loss', 'grad_norm', 'second/grad_norm', 'nll', 'second/nll', 'taken', 'batches']) expect(seen[0], name).toHaveProperty([name]);
    expect(seen.map(({ taken }) => taken)).toEqual([3, 3, 3, 3]);
    const checkpoint = join(dir, 'run', 'checkpoints', 'step-000004');
    expect((await readdir(join(checkpoint, 'second'))).sort()).toEqual(['optimizer.bin', 'weights.bin']);
    expect((await readFile(join(checkpoint, 'second', 'weights.bin'))).toString('hex')).toBe(bytes(second));
    expect(bytes(second)).not.toBe(bytes(policy));
  });

  it('killed at any call of either, a run ends with the same weights of both', async () => {
    const straight = [new BigramPolicy(5), new BigramPolicy(5)];
    await run(straight[0], straight[1], { outputDir: join(dir, 'straight') });
    const calls = straight[0].calls.length + straight[1].calls.length;
    expect(calls).toBeGreaterThan(50);
    for (let moment = 1; moment <= calls; moment++) {
      const first = [new BigramPolicy(5), new BigramPolicy(5)];
      let made = 0;
      for (const policy of first) {
        policy.before = () => {
          if (++made >= moment) throw new Error('killed'); // a dead process does nothing more
        };
      }
      const input = { outputDir: join(dir, `killed-${moment}`), resumeFromCheckpoint: true };
      await expect(run(first[0], first[1], input)).rejects.toThrow();
      const again = [new BigramPolicy(5), new BigramPolicy(5)];
      await run(again[0], again[1], input);
      expect(again.map(bytes), `killed at call ${moment}`).toEqual(straight.map(bytes));
    }
  });

  it('enough leaves out the step that it was asked about, and those after it', async () => {
    const [policy, second] = [new BigramPolicy(5), new BigramPolicy(5)];
    const cleared: string[] = [];
    policy.learner.clearGradients = async () => void cleared.push('policy');
    second.learner.clearGradients = async () => void cleared.push('second');
    let asked = 0;
    await run(policy, second, { outputDir: join(dir, 'enough'), maxSteps: 1 }, { algorithm: makeAlgorithm({ enough: () => ++asked === 2 }) });
    expect(asked).toBe(2);
    expect(cleared).toEqual(['policy', 'second']);
    for (const learner of [policy, second]) expect(learner.calls.filter((call) => call === 'optimStep')).toHaveLength(1);
  });

  it('other losses join every optimiser step, each with a batch of its own', async () => {
    const batches: number[] = [];
    const batch: TokenBatch = { tokens: Int32Array.of(1, 2, 3), offsets: Int32Array.of(0, 3), actionIndex: Int32Array.of(1, 2), columns: {}, normalizer: { tokens: 2, sequences: 1 } };
    await run(new BigramPolicy(5), new BigramPolicy(5), { outputDir: join(dir, 'auxiliary'), maxSteps: 2 }, { auxiliary: [{ prefix: 'lm/', objective: nll(1), batch: (n) => (batches.push(n), batch) }] });
    expect(batches).toEqual([0, 1, 2, 3, 4, 5]);
  });

  it('an aborted step leaves the algorithm as it was before it', async () => {
    const controller = new AbortController();
    const algorithm = makeAlgorithm();
    const policy = new BigramPolicy(5);
    policy.before = (call) => {
      if (call !== 'forwardBackward') return;
      controller.abort();
      throw new Error('stopped by the caller');
    };
    await expect(run(policy, new BigramPolicy(5), { outputDir: join(dir, 'aborted') }, { algorithm, signal: controller.signal })).rejects.toMatchObject({ code: 'aborted' });
    expect(algorithm.state()).toEqual({ batches: 0 });
  });

  it('refuses a geometry in which it could not make its own steps', async () => {
    await expect(run(new BigramPolicy(5), new BigramPolicy(5), { outputDir: join(dir, 'geometry'), stepsPerGeneration: 2 })).rejects.toThrow(/two divides a generation into optimiser steps itself: `steps_per_generation` 2/);
  });
});
