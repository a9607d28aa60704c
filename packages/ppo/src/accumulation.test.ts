import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openEngine, type Engine } from '@espalier/engine';
import { characterTokenizer, createModel, openSafetensors } from '@espalier/models';
import type { ScoredTrajectory } from '@espalier/spec';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ppo } from './algorithm';
import type { PPOConfigInput } from './config';

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'espalier-ppo-accumulation-'));
  await createModel(join(dir, 'model'), { config: { hiddenSize: 16, numLayers: 2, numHeads: 2, maxPositions: 32 }, tokenizer: characterTokenizer('0123456789+= '), seed: 1 });
});
afterAll(async () => rm(dir, { recursive: true, force: true }));

/** Two completions of each of four prompts, of one to four tokens, some cut off. */
const groups = Array.from({ length: 4 }, (_, g) =>
  Array.from({ length: 2 }, (_, k): ScoredTrajectory => {
    const tokens = [2 + g, 3, 7 - g, ...Array.from({ length: 1 + ((g + 2 * k) % 4) }, (_, t) => 1 + ((3 * g + 5 * k + t) % 11))];
    return { id: `${g}${k}`, group: String(g), seed: 0, tokens: Int32Array.from(tokens), trainable: Uint8Array.from(tokens, (_, t) => Number(t >= 3)), samplerLogps: null, versions: [], turns: [], finishReason: k === 1 && g > 1 ? 'length' : 'stop', rewards: { r: (g + k) / 3 } };
  }),
);

/** The weights after fifty optimiser steps, and what each step reported. */
async function train(name: string, config: PPOConfigInput, microBatchSize: number): Promise<{ weights: Float32Array; losses: number[] }> {
  const open = (scalarHead: boolean) => openEngine({ model: join(dir, 'model'), inline: true, precision: 'fp32', scalarHead, seed: 3 });
  const policy = await open(config.sharedTrunk === true);
  const critic: Engine | null = config.sharedTrunk ? null : await open(true);
  const algorithm = ppo({ ...config, numPpoEpochs: 25, numMiniBatches: 2, klCoef: 0, vfCoef: 0.5 }, critic ? { critic: critic.learner } : {});
  const { batch } = await algorithm.experience(groups, { step: 0, learner: policy.learner, rewardWeights: {}, maxCompletionLength: 4, temperature: 1 });
  const { parts, further = [] } = algorithm.step!(batch, { objective: algorithm.objective, temperature: 1, microBatchSize, seed: 5 });
  const losses: number[] = [];
  for (const step of [parts, ...further]) {
    let loss = 0;
    for (const part of step) loss += (await (part.learner ? critic! : policy).learner.forwardBackward(part.batch, part.objective, { temperature: part.temperature })).loss;
    losses.push(loss);
    for (const engine of [policy, critic]) await engine?.learner.optimStep({ learningRate: 1e-3, maxGradNorm: 1 });
  }
  const weights: number[] = [];
  for (const [k, engine] of [policy, critic].entries()) {
    if (!engine) continue;
    const folder = join(dir, `${name}-${k}`);
    await mkdir(folder);
    await engine.learner.save(folder);
    const file = openSafetensors(join(folder, 'model.safetensors'));
    for (const tensor of [...file.tensors.keys()].sort()) weights.push(...file.read(tensor));
    file.close();
    await engine.close();
  }
  return { weights: Float32Array.from(weights), losses };
}

it.each([['a separate critic', {}], ['a shared trunk', { sharedTrunk: true }]] as const)('fifty optimiser steps in micro-batches of one completion are those in micro-batches of eight: %s', async (title, config) => {
  const [whole, parts] = [await train(`${title}-8`, config, 8), await train(`${title}-1`, config, 1)];
  expect(whole.losses).toHaveLength(50);
  const moved = Math.max(...whole.losses) - Math.min(...whole.losses);
  expect(moved).toBeGreaterThan(0.05); // there was something to train
  whole.losses.forEach((loss, i) => expect(parts.losses[i], `step ${i}`).toBeCloseTo(loss, 4));
  let largest = 0;
  let sum = 0;
  whole.weights.forEach((w, i) => {
    const residual = parts.weights[i] - w;
    largest = Math.max(largest, Math.abs(residual));
    sum += residual;
  });
  expect(largest).toBeLessThan(2e-4); // a fifth of one step of Adam
  expect(Math.abs(sum / whole.weights.length)).toBeLessThan(1e-6);
});
