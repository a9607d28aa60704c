import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Repeatable numbers in 0 .. 1. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
}

export interface FakeRun {
  rows?: number;
  samples?: number;
  prompt?: (i: number) => unknown;
  completion?: (i: number) => string;
}

const words = 'let me add the two numbers first so that is carry one and then check again the answer is'.split(' ');

/** Writes what a run on rewards leaves: numbers that look like training, samples with log-probs and advantages. */
export async function writeFakeRun(dir: string, { rows = 300, samples = 64, prompt = (i) => [{ role: 'user', content: `What is ${i % 50} + ${(i * 7) % 50}? Answer briefly.` }], completion }: FakeRun = {}): Promise<void> {
  const next = random(7);
  const noise = (size: number) => size * (next() + next() + next() - 1.5);
  const lines: string[] = [];
  for (let i = 1; i <= rows; i++) {
    const t = i / rows;
    const reward = 0.9 / (1 + Math.exp(-9 * (t - 0.4))) + noise(0.06);
    lines.push(JSON.stringify({
      step: i, epoch: t * 3, reward, reward_std: 0.4 - 0.2 * t + noise(0.05), frac_reward_zero_std: Math.max(0, 0.1 + 0.6 * t ** 3 + noise(0.1)), 'rewards/numeric/mean': reward * 0.9 + noise(0.03), 'rewards/format/mean': Math.min(1, 0.5 + t) + noise(0.02),
      'completions/mean_length': 60 + 90 * t ** 2 + noise(8), 'completions/clipped_ratio': Math.max(0, 0.2 - 0.2 * t + noise(0.05)), 'completions/repetition': 0.08 + noise(0.02), kl: 0.001 * Math.exp(4 * t) + Math.abs(noise(0.004)), entropy: 1.6 - 1.2 * t + noise(0.1),
      'clip_ratio/region_mean': 0.02 + Math.abs(noise(0.01)), loss: noise(0.01), grad_norm: 0.5 + Math.abs(noise(0.3)), learning_rate: 1e-6 * Math.min(1, i / 20) * (1 - t), step_time: 3.2 + noise(0.4), num_tokens: i * 4096,
    }));
    if (i % 20 === 0) lines.push(JSON.stringify({ step: i, epoch: t * 3, eval_reward: 0.8 / (1 + Math.exp(-9 * (t - 0.45))) + noise(0.02), eval_accuracy: 0.75 / (1 + Math.exp(-9 * (t - 0.45))), 'eval_completions/mean_length': 55 + 80 * t ** 2, eval_runtime: 11 + noise(1) }));
  }
  const records = Array.from({ length: samples }, (_, i) => {
    const pieces = Array.from({ length: 12 + Math.floor(40 * next()) }, (_, k) => `${k === 0 ? '' : ' '}${words[Math.floor(next() * words.length)]}`);
    const text = completion ? completion(i) : `${pieces.join('')} ${(i % 50) + ((i * 7) % 50)}`;
    const lengths = completion ? undefined : [...pieces.map(({ length }) => length), 1, String((i % 50) + ((i * 7) % 50)).length];
    const numeric = next() < 0.6 ? 1 : 0;
    const advantage = Number(((numeric - 0.6) * 1.8).toFixed(3));
    return JSON.stringify({
      step: 1 + Math.floor((i * rows) / samples / 10) * 10, prompt: prompt(i), completion: text, reward: numeric + 0.1, rewards: { numeric, format: 0.5 }, components: { format: { think: numeric, closing: 0.25 } }, advantage,
      tokens: lengths?.length ?? 20, finish_reason: next() < 0.9 ? 'stop' : 'length', ...(lengths ? { token_lengths: lengths, logps: lengths.map(() => -Number((6 * next() ** 4).toFixed(3))) } : {}),
    });
  });
  const at = (minutes: number) => new Date(Date.UTC(2026, 10, 28, 8, minutes)).toISOString();
  const log = [
    { time: at(0), event: 'start', step: 0, totalSteps: rows, backend: 'native', precision: 'bf16' },
    { time: at(1), event: 'note', name: 'loss_near_zero', message: 'a loss near 0 (0.0031) is right here: the advantages of a group add up to about 0 and the ratio to the sampling policy is 1, so the loss says nothing, while its gradient does (see `grad_norm`). Watch `reward`', step: 1 },
    { time: at(9), event: 'warning', name: 'length_climbing', message: 'completions have 124 tokens, 61 at the beginning. Where more text is not what is wanted, the reward or the loss favours length: `loss_type` dr_grpo or dapo, an overlong punishment', step: Math.ceil(rows * 0.72) },
    { time: at(12), event: 'warning', name: 'groups_without_variance', message: 'in the last 10 steps 71 % of the groups had the same reward for all completions: they train nothing. Prompts that are neither too easy nor too hard, more `num_generations`, a higher `temperature` or a finer reward help', step: Math.ceil(rows * 0.9) },
    { time: at(14), event: 'end', step: rows },
  ];
  const config = { name: 'rpt', model: { path: 'SmolLM2-135M-Instruct', precision: 'bf16' }, algorithm: 'grpo', rewards: { numeric: 1, format: 0.2 }, arguments: { learningRate: 1e-6, numGenerations: 8, perDeviceTrainBatchSize: 32, maxCompletionLength: 256, temperature: 1, maxSteps: rows, beta: 0.01, lossType: 'dapo', epsilon: 0.2, epsilonHigh: 0.28, seed: 42, lrSchedulerType: 'linear', warmupSteps: 20, logCompletions: true } };
  await mkdir(dir, { recursive: true });
  await Promise.all([
    writeFile(join(dir, 'metrics.jsonl'), `${lines.join('\n')}\n`),
    writeFile(join(dir, 'samples.jsonl'), `${records.join('\n')}\n`),
    writeFile(join(dir, 'log.jsonl'), `${log.map((entry) => JSON.stringify(entry)).join('\n')}\n`),
    writeFile(join(dir, 'config.json'), JSON.stringify(config, null, 2)),
  ]);
}

/** Writes a pipeline's run: a model, SFT, RPT, a branch with PPO, an evaluation. */
export async function writeFakePipeline(dir: string): Promise<void> {
  const stage = (name: string, folder: string, metrics: Record<string, number>, seconds: number, status = 'done') => ({ name, folder, status, inputDigest: 'x', gives: {}, metrics, seconds });
  const sft = join(dir, '02-sft');
  await mkdir(join(dir, '01-model'), { recursive: true });
  await mkdir(sft, { recursive: true });
  await mkdir(join(dir, '05-evaluate'), { recursive: true });
  const next = random(3);
  const sftLines = Array.from({ length: 120 }, (_, i) => JSON.stringify({ step: i + 1, loss: 2.2 * Math.exp(-i / 40) + 0.5 + 0.1 * next(), mean_token_accuracy: 0.4 + i / 300, grad_norm: 1 + next(), learning_rate: 2e-5 * (1 - i / 120), step_time: 1 + next() / 5 }));
  await writeFile(join(sft, 'metrics.jsonl'), `${sftLines.join('\n')}\n`);
  await writeFile(join(sft, 'config.json'), JSON.stringify({ name: 'sft', arguments: { learningRate: 2e-5, maxSteps: 120 } }));
  await writeFakeRun(join(dir, '03-rpt'), { rows: 200 });
  const branch = join(dir, '04-ppo');
  await writeFakeRun(join(branch, '01-ppo'), { rows: 140, samples: 32 });
  await writeFile(join(branch, 'pipeline.json'), JSON.stringify({ format: 'espalier-pipeline-v1', seed: 42, stages: [stage('ppo', '01-ppo', { reward: 0.61, loss: 0.02, steps: 140 }, 300)] }));
  const example = (i: number) => JSON.stringify({ prompt: [{ role: 'user', content: `What is ${i} + 4?` }], completion: `It is ${i + 4}.`, reward: 1, rewards: { numeric: 1 }, finishReason: 'stop' });
  await writeFile(join(dir, '05-evaluate', 'samples.jsonl'), `${[1, 2, 3, 4].map(example).join('\n')}\n`);
  const stages = [stage('model', '01-model', {}, 0.2), stage('sft', '02-sft', { loss: 0.61, steps: 120, eval_loss: 0.7, mean_token_accuracy: 0.79 }, 132), stage('rpt', '03-rpt', { reward: 0.88, loss: 0.002, steps: 200, eval_reward: 0.79, eval_accuracy: 0.74, kl: 0.05 }, 840), stage('ppo', '04-ppo', {}, 301), stage('evaluate', '05-evaluate', { accuracy: 0.81, reward: 0.81, 'rewards/numeric/mean': 0.81 }, 21)];
  await writeFile(join(dir, 'pipeline.json'), JSON.stringify({ format: 'espalier-pipeline-v1', seed: 42, stages }));
}
