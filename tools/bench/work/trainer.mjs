// Steps of the trainers, with the rows and settings of peers/trl_step.py: { model, algorithm: sft|dpo|grpo, precision }.
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { say, turn, options } from '../lib/serve.mjs';

const { model, algorithm, precision, samplerWeights, warm = 3 } = options;
const text = 'The quick brown fox jumps over the lazy dog. '.repeat(20);
let begun = performance.now();
let first = null;
const gate = {
  async onStep({ step }, metrics) {
    const seconds = (performance.now() - begun) / 1000;
    first ??= seconds;
    if (step === warm) say({ ready: true, first });
    else if (step > warm) say({ seconds, meanLength: metrics['completions/mean_length'] });
    if (step >= warm) await turn();
    begun = performance.now();
  },
};
const common = {
  model,
  modelArgs: { ...(precision ? { bf16: precision === 'bf16' } : {}), ...(samplerWeights ? { samplerWeights } : {}) },
  callbacks: [gate],
};
const args = { outputDir: mkdtempSync(join(tmpdir(), 'espalier-bench-')), maxSteps: 1000, saveStrategy: 'no', loggingSteps: 1, learningRate: 1e-6 };
const make = {
  async sft() {
    const { SFTTrainer } = await import('@espalier/sft');
    return new SFTTrainer({ ...common, trainDataset: Array.from({ length: 64 }, () => ({ text: text.repeat(3) })), args: { ...args, perDeviceTrainBatchSize: 8, maxLength: 128 } });
  },
  async dpo() {
    const { DPOTrainer } = await import('@espalier/dpo');
    const reversed = [...text.slice(50, 300)].reverse().join('');
    const rows = Array.from({ length: 32 }, (_, i) => ({ prompt: text.slice(0, 100 + i), chosen: text.slice(100, 350), rejected: reversed }));
    return new DPOTrainer({ ...common, trainDataset: rows, args: { ...args, perDeviceTrainBatchSize: 4, maxLength: 128 } });
  },
  async grpo() {
    const { GRPOTrainer } = await import('@espalier/grpo');
    const { defineReward } = await import('@espalier/spec');
    const rows = Array.from({ length: 64 }, (_, i) => ({ prompt: [{ role: 'user', content: `What is ${i}+${i + 3}? Answer with a number and explain each step.` }] }));
    const words = defineReward({ name: 'words', score: async (samples) => samples.map(({ completion }) => new Set(completion.split(/\s+/)).size / 50) });
    return new GRPOTrainer({ ...common, rewardFuncs: words, trainDataset: rows, args: { ...args, perDeviceTrainBatchSize: 8, numGenerations: 8, maxCompletionLength: 64, beta: 0.04 } });
  },
};
const trainer = await make[algorithm]();
begun = performance.now();
await trainer.train();
