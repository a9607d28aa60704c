import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineObjective, type RewardFunction, type TokenBatch } from '@espalier/spec';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { BigramPolicy } from '../test/bigram-policy';
import { parseArguments } from './arguments';
import { trainOnline, type StatefulAlgorithm } from './online';
import { onlineArguments } from './online-arguments';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'espalier-reward-state-'));
});
afterEach(async () => rm(dir, { recursive: true, force: true }));

/** Rewards less their mean so far: what an early sample was given shows in every later one. */
function centred(): RewardFunction {
  let [count, total] = [0, 0];
  return {
    specVersion: 'v1', name: 'centred',
    async score(samples, { evaluation }) {
      const lengths = samples.map(({ completionTokens }) => completionTokens.reduce((a, b) => a + b, 0));
      if (!evaluation) for (const length of lengths) [count, total] = [count + 1, total + length];
      return lengths.map((length) => length - total / Math.max(count, 1));
    },
    state: () => ({ count, total }),
    restore: (state) => void ({ count, total } = state as { count: number; total: number }),
  };
}

/** Makes a sample likelier by its reward; counts its batches as its state. */
function algorithm(stateful: boolean): StatefulAlgorithm {
  let batches = 0;
  const plain = {
    specVersion: 'v1' as const, name: 'plain', numIterations: 1, needsReference: false,
    objective: defineObjective({
      name: 'weighted', needs: ['logps'], coupling: 'token',
      evaluate: ({ logps }, { normalizer, columns: { weights } }) => ({ loss: -logps!.reduce((sum, x, a) => sum + weights[a] * x, 0) / normalizer.tokens, grads: { logps: weights.map((w) => -w / normalizer.tokens) }, metrics: {} }),
    }),
    experience: async (groups: Parameters<StatefulAlgorithm['experience']>[0]) => {
      batches++;
      const trajectories = groups.flat();
      const offsets = new Int32Array(trajectories.length + 1);
      trajectories.forEach(({ tokens }, i) => (offsets[i + 1] = offsets[i] + tokens.length));
      const places = trajectories.flatMap((t, i) => [...t.trainable.keys()].filter((k) => t.trainable[k]).map((k) => ({ at: offsets[i] + k, weight: t.rewards.centred as number })));
      const batch: TokenBatch = { tokens: Int32Array.from(trajectories.flatMap((t) => [...t.tokens])), offsets, actionIndex: Int32Array.from(places, ({ at }) => at), columns: { weights: Float32Array.from(places, ({ weight }) => weight) }, normalizer: { tokens: places.length, sequences: trajectories.length } };
      return { batch, metrics: { batches } };
    },
  };
  return (stateful ? { ...plain, state: () => ({ batches }), restore: (state: unknown) => void ({ batches } = state as { batches: number }) } : plain) as StatefulAlgorithm;
}

function run(policy: BigramPolicy, outputDir: string, stateful: boolean, signal?: { after: number; seen: number[] }) {
  const prompts = Array.from({ length: 7 }, (_, i) => ({ row: { id: i }, prompt: `p${i}`, tokens: Int32Array.of(1 + (i % 4), (i * 3) % 5) }));
  const controller = new AbortController();
  return trainOnline({
    learner: policy.learner, rollouts: policy.rollouts, algorithm: algorithm(stateful), rewards: [centred()],
    prompts: { size: prompts.length, at: (i) => prompts[i] }, evalPrompts: prompts.slice(0, 2),
    args: parseArguments(onlineArguments, { outputDir, resumeFromCheckpoint: true, learningRate: 0.05, perDeviceTrainBatchSize: 4, numGenerations: 2, maxCompletionLength: 4, maxSteps: 6, loggingSteps: 1, saveSteps: 2, evalStrategy: 'steps', evalSteps: 1 }),
    callbacks: [{ onStep: ({ step }, { batches }) => { signal?.seen.push(batches); if (step === signal?.after) controller.abort(); } }], // prettier-ignore
    signal: controller.signal,
  });
}

it.each([true, false])('what a reward function keeps is as it was after a resume (an algorithm with a state: %s)', async (stateful) => {
  const straight = new BigramPolicy(5);
  await run(straight, join(dir, 'straight'), stateful);
  for (const after of [1, 3, 5]) {
    await expect(run(new BigramPolicy(5), join(dir, `stopped-${after}`), stateful, { after, seen: [] })).rejects.toMatchObject({ code: 'aborted' });
    const again = new BigramPolicy(5);
    const seen: number[] = [];
    await run(again, join(dir, `stopped-${after}`), stateful, { after: Infinity, seen });
    expect([...again.weights]).toEqual([...straight.weights]);
    if (stateful) expect(seen.at(-1)).toBe(6);
  }
});
