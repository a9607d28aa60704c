import { mkdtemp, rm } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openSafetensors, Tokenizer } from '@espalier/models';
import type { Row } from '@espalier/data';
import { defineReward, type GenerateRequest, type Metrics, type RolloutEngine } from '@espalier/spec';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CPOTrainer, DPOTrainer, KTOTrainer, OnlineDPOTrainer, ORPOTrainer } from './index';

// Made by tools/fixtures/make-preference-parity.py: TRL's own trainers on the same checkpoint and rows
const folder = fileURLToPath(new URL('../fixtures/parity', import.meta.url));
const model = fileURLToPath(new URL('../../models/fixtures/smollm2', import.meta.url));
const trainers = { dpo: DPOTrainer, kto: KTOTrainer, cpo: CPOTrainer, orpo: ORPOTrainer };
const cases = ['dpo', 'dpo-chat', 'dpo-mixture', 'dpo-wpo', 'dpo-synced', 'kto', 'kto-pairs', 'cpo', 'cpo-simpo', 'orpo', 'online-sigmoid', 'online-ipo'] as const;

interface Fixture {
  options: Record<string, unknown>;
  batch: number;
  rows: Row[];
  steps: Metrics[];
}
const fixture = (name: string) => JSON.parse(readFileSync(join(folder, `${name}.json`), 'utf8')) as Fixture;
const camel = (name: string) => name.replace(/_([a-z])/g, (_, c: string) => c.toUpperCase());

let dir: string;
beforeAll(async () => void (dir = await mkdtemp(join(tmpdir(), 'espalier-parity-'))));
afterAll(async () => rm(dir, { recursive: true, force: true }));

async function train(name: string, more: Record<string, unknown>) {
  const { options, batch, rows } = fixture(name);
  const named = Object.fromEntries(Object.entries(options).map(([key, value]) => [camel(key), value]));
  const steps: Metrics[] = [];
  const args = { ...named, perDeviceTrainBatchSize: batch, maxGradNorm: 0, learningRate: 1e-3, saveStrategy: 'no', ...more, outputDir: join(dir, `${name}-${String(more.maxSteps)}`) };
  if (name.startsWith('online')) {
    const trainer = new OnlineDPOTrainer({
      model, inline: true, modelArgs: { bf16: false }, trainDataset: rows.map(({ prompt }) => ({ prompt })), rolloutEngine: givenCompletions(rows),
      rewardFuncs: defineReward({ name: 'first', score: async (samples) => samples.map(({ completionTokens }) => completionTokens[0] % 5) }),
      args: { ...args, maxNewTokens: 4, maxLength: 64 } as never,
      callbacks: [{ onStep: (_, metrics) => void steps.push(metrics) }],
    });
    await trainer.train();
    await trainer.close();
    return { steps, dir: args.outputDir };
  }
  const Trainer = trainers[name.split('-')[0] as keyof typeof trainers] as typeof DPOTrainer;
  const trainer = new Trainer({ model, trainDataset: rows, inline: true, modelArgs: { bf16: false }, args: args as never, callbacks: [{ onStep: (_, metrics) => void steps.push(metrics) }] });
  await trainer.train();
  await trainer.close();
  return { steps, dir: args.outputDir };
}

/** The completions of the fixture in place of sampled ones. Token 2 ends one. */
function givenCompletions(rows: readonly Row[]): RolloutEngine {
  const tokenizer = Tokenizer.fromFolder(model);
  const byPrompt = new Map(rows.map((row) => [tokenizer.encode(row.prompt as string).join(), row.given as number[][]]));
  return {
    specVersion: 'v1', name: 'given', capabilities: { tokenIds: true, logps: false, sync: 'memory' },
    async *generate(requests: readonly GenerateRequest[]) {
      for (const { id, prompt } of requests) {
        for (const [index, tokens] of byPrompt.get(prompt.join())!.entries()) yield { requestId: id, index, tokens: Int32Array.from(tokens), logps: null, text: '', finishReason: tokens.at(-1) === 2 ? ('stop' as const) : ('length' as const), version: 0 };
      }
    },
    close: async () => undefined,
  };
}

describe('TRL 1.16.0 on a tiny checkpoint, the same rows', () => {
  it.each(cases)('%s: the first step has the loss, the metrics and each parameter\'s gradient', async (name) => {
    // With ε far above every gradient and as large a learning rate, Adam's first step is the gradient.
    const { steps, dir: run } = await train(name, { maxSteps: 1, learningRate: 1e6, adamEpsilon: 1e6, saveStrategy: 'steps', saveSteps: 1 });
    const [expected] = fixture(name).steps;
    expect(Math.abs(steps[0].loss - expected.loss)).toBeLessThanOrEqual(1e-5 * Math.abs(expected.loss));
    expect(Math.abs(steps[0].grad_norm - expected.grad_norm)).toBeLessThanOrEqual(1e-4 * expected.grad_norm);
    for (const [metric, value] of Object.entries(expected)) {
      if (metric in steps[0]) expect(Math.abs(steps[0][metric] - value), `${metric}: ${steps[0][metric]} for ${value}`).toBeLessThanOrEqual(1e-4 * Math.max(1, Math.abs(value)));
      else expect(metric).toBe('none is missing');
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
    const expected = fixture(name).steps;
    const residuals = expected.map(({ loss }, i) => steps[i].loss - loss);
    expect(residuals.map((r, i) => Math.abs(r) / Math.max(1, Math.abs(expected[i].loss))).filter((r) => !(r <= 1e-3))).toEqual([]);
  });
});

