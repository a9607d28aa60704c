import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openSafetensors } from '@espalier/models';
import type { Metrics } from '@espalier/spec';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { GKDTrainer } from './index';

// Made by tools/parity/distill.py: TRL's own trainer on the same checkpoints and rows
const folder = fileURLToPath(new URL('../fixtures/parity', import.meta.url));
const model = (name: string) => fileURLToPath(new URL(`../../models/fixtures/${name}`, import.meta.url));
const cases = ['gkd', 'forward-kl', 'reverse-kl'] as const;

interface Fixture {
  options: Record<string, unknown>;
  steps: { loss: number; grad_norm: number }[];
}
const read = (name: string) => JSON.parse(readFileSync(join(folder, `${name}.json`), 'utf8')) as Fixture;
const camel = (name: string) => name.replace(/_([a-z])/g, (_, c: string) => c.toUpperCase());

let dir: string;
beforeAll(async () => void (dir = await mkdtemp(join(tmpdir(), 'espalier-distill-parity-'))));
afterAll(async () => rm(dir, { recursive: true, force: true }));

async function train(name: string, more: Record<string, unknown>) {
  const steps: Metrics[] = [];
  const options = Object.fromEntries(Object.entries(read(name).options).map(([key, value]) => [camel(key), value]));
  const outputDir = join(dir, `${name}-${String(more.maxSteps)}`);
  const trainer = new GKDTrainer({
    model: model('llama'), teacherModel: model('qwen3'), trainDataset: join(folder, 'rows.jsonl'), inline: true, modelArgs: { bf16: false },
    args: { perDeviceTrainBatchSize: 4, learningRate: 1e-3, maxGradNorm: 0, lmbda: 0, maxLength: 64, shuffleDataset: false, saveStrategy: 'no', ...options, ...more, outputDir },
    callbacks: [{ onStep: (_, metrics) => void steps.push(metrics) }],
  });
  await trainer.train();
  await trainer.close();
  return { steps, outputDir };
}

const relative = (value: number, of: number) => Math.abs(value - of) / Math.abs(of);

describe("TRL 1.16.0's GKDTrainer on tiny checkpoints", () => {
  it.each(cases)("%s: the first step has the loss and each parameter's gradient", async (name) => {
    // With ε far above every gradient and as large a learning rate, Adam's first step is the gradient.
    const { steps, outputDir } = await train(name, { maxSteps: 1, learningRate: 1e6, adamEpsilon: 1e6, saveStrategy: 'steps', saveSteps: 1 });
    const [expected] = read(name).steps;
    expect(relative(steps[0].loss, expected.loss)).toBeLessThan(1e-5);
    expect(relative(steps[0].grad_norm, expected.grad_norm)).toBeLessThan(1e-4);
    const before = openSafetensors(join(model('llama'), 'model.safetensors'));
    const after = openSafetensors(join(outputDir, 'checkpoints', 'step-000001', 'model.safetensors'));
    const gradients = openSafetensors(join(folder, `${name}.safetensors`));
    expect(gradients.tensors.size).toBe(before.tensors.size);
    for (const parameter of gradients.tensors.keys()) {
      const [then, now, gradient] = [before, after, gradients].map((file) => file.read(parameter));
      const scale = gradient.reduce((most, g) => Math.max(most, Math.abs(g)), 0);
      const worst = gradient.reduce((most, g, i) => Math.max(most, Math.abs(then[i] - now[i] - g)), 0);
      expect(worst, `${parameter}, largest ${scale}`).toBeLessThanOrEqual(1e-4 * Math.max(scale, 1e-3));
    }
    for (const file of [before, after, gradients]) file.close();
  });

  it.each(cases)('%s: twenty steps stay within 1e-3', async (name) => {
    const { steps } = await train(name, { maxSteps: 20 });
    const { steps: expected } = read(name);
    expect(expected).toHaveLength(20);
    expected.forEach(({ loss, grad_norm }, i) => {
      expect(relative(steps[i].loss, loss), `loss of step ${i + 1}`).toBeLessThan(1e-3);
      expect(relative(steps[i].grad_norm, grad_norm), `grad_norm of step ${i + 1}`).toBeLessThan(1e-3);
    });
  });
});
