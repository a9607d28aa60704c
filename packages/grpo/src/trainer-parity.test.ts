import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openSafetensors } from '@espalier/models';
import { defineReward, type Metrics, type RolloutEngine } from '@espalier/spec';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { GRPOTrainer, RLOOTrainer } from './index';

// Made by tools/parity/policy.py: TRL's own trainers on the same checkpoint, completions and rewards
const folder = fileURLToPath(new URL('../fixtures/parity', import.meta.url));
const model = fileURLToPath(new URL('../../models/fixtures/smollm2', import.meta.url));
const cases = ['grpo', 'grpo-kl', 'grpo-masked', 'grpo-sequence', 'grpo-token-truncate', 'grpo-sequence-mask', 'grpo-adaptive', 'rloo', 'rloo-normalized', 'rloo-synced'] as const;

interface Data {
  prompts: string[];
  prompt_ids: number[][];
  completions: number[][][];
  sampler_logps: number[][][];
  eos: number;
}
interface Fixture {
  options: Record<string, unknown>;
  steps: Metrics[];
}
const read = <T>(name: string) => JSON.parse(readFileSync(join(folder, name), 'utf8')) as T;
const data = read<Data>('data.json');
const camel = (name: string) => name.replace(/^vllm_/, '').replace(/_([a-z])/g, (_, c: string) => c.toUpperCase());

let dir: string;
beforeAll(async () => void (dir = await mkdtemp(join(tmpdir(), 'espalier-policy-parity-'))));
afterAll(async () => rm(dir, { recursive: true, force: true }));

/** Gives the completions of the fixture, whatever the weights are. */
const rollouts = (withLogps: boolean): RolloutEngine => ({
  specVersion: 'v1',
  name: 'fixed',
  capabilities: { tokenIds: true, logps: withLogps, sync: 'memory' },
  async *generate(requests) {
    for (const { id, prompt, n = 1 } of requests) {
      const i = data.prompt_ids.findIndex((ids) => ids.join() === Array.from(prompt).join());
      expect(i).toBeGreaterThanOrEqual(0); // prompts are tokenised as transformers does
      for (let k = 0; k < n; k++) {
        const tokens = data.completions[i][k];
        yield { requestId: id, index: k, tokens: Int32Array.from(tokens), logps: withLogps ? Float32Array.from(data.sampler_logps[i][k]) : null, text: '', finishReason: tokens.at(-1) === data.eos ? 'stop' : 'length', version: 0 };
      }
    }
  },
  close: async () => {},
});
const reward = defineReward({ name: 'reward', score: async (samples) => samples.map(({ completionTokens }) => (completionTokens.reduce((a, b) => a + b, 0) % 11) / 10) });

async function train(name: string, more: Record<string, unknown>) {
  const { options } = read<Fixture>(`${name}.json`);
  const corrected = Object.keys(options).some((option) => option.startsWith('vllm_'));
  const steps: Metrics[] = [];
  const args = {
    ...Object.fromEntries(Object.entries(options).map(([key, value]) => [camel(key), value])), importanceSamplingCorrection: corrected,
    perDeviceTrainBatchSize: 8, numGenerations: 4, maxCompletionLength: 8, maxGradNorm: 0, learningRate: 1e-3, shuffleDataset: false, saveStrategy: 'no', ...more, outputDir: join(dir, `${name}-${String(more.maxSteps)}`),
  };
  const Trainer = (name.startsWith('rloo') ? RLOOTrainer : GRPOTrainer) as typeof GRPOTrainer;
  const trainer = new Trainer({
    model, rewardFuncs: reward, trainDataset: data.prompts.map((prompt) => ({ prompt })), rolloutEngine: rollouts(corrected), inline: true, modelArgs: { bf16: false }, args: args as never,
    callbacks: [{ onStep: (_, metrics) => void steps.push(metrics) }],
  });
  await trainer.train();
  await trainer.close();
  return { steps, dir: args.outputDir };
}

describe('TRL 1.16.0 on a tiny checkpoint, the same completions and rewards', () => {
  it.each(cases)('%s: the first step has the loss, the metrics and each parameter\'s gradient', async (name) => {
    // With ε far above every gradient and as large a learning rate, Adam's first step is the gradient.
    const { steps, dir: run } = await train(name, { maxSteps: 1, learningRate: 1e6, adamEpsilon: 1e6, saveStrategy: 'steps', saveSteps: 1 });
    const [expected] = read<Fixture>(`${name}.json`).steps;
    // On the policy's own samples the loss is often 0 by construction: TRL's is what rounding leaves.
    expect(Math.abs(steps[0].loss - expected.loss), `loss ${steps[0].loss} for ${expected.loss}`).toBeLessThanOrEqual(1e-5 * Math.abs(expected.loss) + 1e-7);
    for (const [metric, value] of Object.entries(expected)) {
      if (metric === 'loss') continue;
      expect(steps[0], metric).toHaveProperty([metric]);
      expect(Math.abs(steps[0][metric] - value), `${metric}: ${steps[0][metric]} for ${value}`).toBeLessThanOrEqual(1e-4 * Math.max(1, Math.abs(value)));
    }
    const before = openSafetensors(join(model, 'model.safetensors'));
    const after = openSafetensors(join(run, 'checkpoints', 'step-000001', 'model.safetensors'));
    const gradients = openSafetensors(join(folder, `${name}.safetensors`));
    expect(gradients.tensors.size).toBeGreaterThan(10);
    for (const parameter of gradients.tensors.keys()) {
      const [then, now, gradient] = [before, after, gradients].map((file) => file.read(parameter));
      const scale = gradient.reduce((most, g) => Math.max(most, Math.abs(g)), 0);
      const worst = gradient.reduce((most, g, i) => Math.max(most, Math.abs(then[i] - now[i] - g)), 0);
      expect(worst, `${parameter}, largest ${scale}`).toBeLessThanOrEqual(1e-4 * Math.max(scale, 1e-3));
    }
  });

  it.each(cases)('%s: twenty steps stay within 1e-3', async (name) => {
    const { steps } = await train(name, { maxSteps: 20 });
    const { steps: expected } = read<Fixture>(`${name}.json`);
    expect(expected).toHaveLength(20);
    const far = expected.flatMap((record, i) =>
      Object.keys(expected[1]).flatMap((metric) => (metric in record && !(Math.abs(steps[i][metric] - record[metric]) <= 1e-3 * Math.max(1, Math.abs(record[metric]))) ? [`step ${i + 1}: ${metric} ${steps[i][metric]} for ${record[metric]}`] : [])),
    );
    expect(far).toEqual([]);
  });
});
