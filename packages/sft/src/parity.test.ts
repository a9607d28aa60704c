import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openSafetensors } from '@espalier/models';
import type { Metrics } from '@espalier/spec';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import golden from '../fixtures/sft-trl-1.16.0.json';
import type { SFTConfigInput } from './config';
import { SFTTrainer } from './trainer';

// Made by tools/parity/sft.py with TRL 1.16.0.
const fixture = (path: string) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const camelCase = (options: object): SFTConfigInput => Object.fromEntries(Object.entries(options).map(([name, value]) => [name.replace(/_([a-z])/g, (_, c: string) => c.toUpperCase()), value as unknown]));

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'espalier-sft-parity-'));
  for (const model of new Set(golden.cases.map((given) => given.model))) {
    await cp(fixture(`../models/fixtures/${model}`), join(dir, model), { recursive: true });
    await writeFile(join(dir, model, 'chat_template.jinja'), golden.template);
  }
});
afterAll(() => rm(dir, { recursive: true, force: true }));

type Case = (typeof golden.cases)[number];

/** Runs a case here; gives what every step logged. */
async function run({ name, model, rows, options }: Case, more: SFTConfigInput = {}): Promise<(Metrics & { epoch: number; tokens: number })[]> {
  const steps: (Metrics & { epoch: number; tokens: number })[] = [];
  const trainer = new SFTTrainer({
    model: join(dir, model),
    trainDataset: rows,
    inline: true,
    modelArgs: { bf16: false },
    args: { outputDir: join(dir, `${name} ${Object.keys(more).join(' ')}`), maxSteps: golden.cases[0].loss.length, learningRate: 1e-3, trainSamplingStrategy: 'sequential', saveStrategy: 'no', ...camelCase(options), ...more },
    callbacks: [{ onStep: ({ epoch, numTokens }, metrics) => void steps.push({ ...metrics, epoch, tokens: numTokens }) }],
  });
  await trainer.train();
  await trainer.close();
  return steps;
}

describe('SFTTrainer does what TRL\'s does', () => {
  it.each(golden.cases)('$name: the first step within 1e-5, 20 steps within 1e-3', async (given) => {
    const steps = await run(given);
    expect(steps).toHaveLength(given.loss.length);
    expect(Math.abs(steps[0].loss - given.loss[0])).toBeLessThanOrEqual(1e-5 * given.loss[0]);
    steps.forEach((step, i) => {
      expect(Math.abs(step.loss - given.loss[i]), `loss of step ${i + 1}`).toBeLessThanOrEqual(1e-3);
      expect(Math.abs(step.grad_norm - given.grad_norm[i]), `norm of step ${i + 1}`).toBeLessThanOrEqual(1e-2);
      expect(step.tokens).toBe(given.num_tokens[i]);
      expect(Math.abs(step.epoch - given.epoch[i])).toBeLessThanOrEqual(0.1); // TRL counts batches, here it is rows: a last batch may be smaller
    });
    const drift = steps.reduce((sum, step, i) => sum + step.loss - given.loss[i], 0) / steps.length;
    expect(Math.abs(drift)).toBeLessThanOrEqual(1e-4);
  });

  it('each parameter has the same gradient within 1e-4', async () => {
    const [given] = golden.cases;
    await run(given, { maxSteps: 1, maxGradNorm: 0, saveStrategy: 'steps' });
    // After the first step of AdamW its first moment is (1 - beta1) times the gradient.
    const moments = openSafetensors(join(dir, `${given.name} maxSteps maxGradNorm saveStrategy`, 'checkpoints/step-000001/optimizer.safetensors'));
    const expected = openSafetensors(fixture('fixtures/sft-gradients-trl-1.16.0.safetensors'));
    const names = [...expected.tensors.keys()];
    expect(names.length).toBeGreaterThan(10);
    for (const name of names) {
      const [m, g] = [moments.read(`m.${name}`), expected.read(name)];
      expect(m.length, name).toBe(g.length);
      const scale = Math.max(...g.map(Math.abs));
      for (let i = 0; i < g.length; i++) expect(Math.abs(m[i] / 0.1 - g[i]), `${name}[${i}]`).toBeLessThanOrEqual(1e-4 * Math.max(scale, 1e-3));
    }
  });
});
