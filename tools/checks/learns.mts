/**
 * Things that must learn, do: trains the quickstart's small model once (pre-training, SFT), then runs every on-policy algorithm of tools/checks/learns/
 * from there, once with a reward that checks the answer and once with that reward's scores shuffled. Each must lift the mean reward on held-out sums by
 * at least 0.2 with KL(π ‖ start) in its budget, and by less than 0.03 when the scores are shuffled. Seeds are fixed.
 *
 *   npx tsx --conditions @espalier/source tools/checks/learns.mts [ALGORITHM …] [--start DIR] [--seed N] [--worker] [--json]
 *
 * `--start` keeps the shared start in a folder, and takes it from there the next time. `--worker` puts models on their own thread (needs a build).
 * The model is so small that a second thread gains a tenth: several algorithms run beside each other, each in a process and on a processor of its own.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Random, type Dataset } from '@espalier/data';
import { openEngine } from '@espalier/engine';
import { localRolloutEngine } from '@espalier/engine/local';
import { characterTokenizer, createModel } from '@espalier/models';
import { numericReward } from '@espalier/rewards';
import { SFTTrainer } from '@espalier/sft';
import { defineReward, type RewardFunction } from '@espalier/spec';
import { allPrompts, deriveSeed, evaluateReward, promptSource } from '@espalier/trainer';
import { sumsData } from '../../examples/quickstart/sums.ts';
import type { LearnsContext, LearnsEntry } from './learns/context.mts';

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: { start: { type: 'string' }, seed: { type: 'string', default: '1' }, worker: { type: 'boolean', default: false }, json: { type: 'boolean', default: false } },
});
const seed = Number(flags.seed);
const inline = !flags.worker;
const least = 0.2;
const most = 0.03;
/** The quickstart's model and data: sums to 59. */
const scale = { hiddenSize: 96, numLayers: 3, largest: 59, pretrainSteps: 350, pretrainRows: 256, sftSteps: 100, samples: 4 };
const maxCompletionLength = 4;

const directory = new URL('./learns/', import.meta.url);
const known = (await readdir(directory)).filter((file) => file.endsWith('.mts') && file !== 'context.mts').map((file) => file.slice(0, -'.mts'.length));
const unknown = positionals.find((name) => !known.includes(name));
if (unknown !== undefined) {
  console.error(`no algorithm "${unknown}": ${known.join(', ')}`);
  process.exit(2);
}

const data = sumsData(seed, scale.largest);
const folder = await mkdtemp(join(tmpdir(), 'espalier-learns-'));
const say = (line: string) => console.error(line);
const results: Result[] = [];
try {
  const start = resolve(flags.start ?? join(folder, 'start'));
  if (!existsSync(start)) await timed('the shared start', () => makeStart(start));
  const algorithms = positionals.length > 0 ? positionals : known;
  if (algorithms.length === 1) results.push(await learns(algorithms[0], start));
  else {
    const left = [...algorithms];
    const one = async () => {
      for (let algorithm = left.shift(); algorithm !== undefined; algorithm = left.shift()) results.push(...(await inProcess(algorithm, start)));
    };
    await Promise.all(Array.from({ length: availableParallelism() }, one));
  }
} finally {
  await rm(folder, { recursive: true, force: true });
}
if (flags.json) console.log(JSON.stringify(results));
process.exitCode = results.every(({ passed }) => passed) ? 0 : 1;

interface Result {
  algorithm: string;
  before: number;
  lift: number;
  kl: number;
  klBudget: number;
  shuffledLift: number;
  shuffledKl: number;
  seconds: number;
  passed: boolean;
}

/** This program for one algorithm, on one processor. */
async function inProcess(algorithm: string, start: string): Promise<Result[]> {
  const args = [...process.execArgv, fileURLToPath(import.meta.url), algorithm, '--start', start, '--seed', String(seed), ...(inline ? [] : ['--worker']), '--json'];
  const child = spawn(process.execPath, args, { env: { ...process.env, ESPALIER_NUM_THREADS: '1' }, stdio: ['ignore', 'pipe', 'inherit'] });
  const [output, [status]] = await Promise.all([text(child.stdout), once(child, 'close')]);
  if (output === '') throw new Error(`${algorithm}: ended with status ${status}`);
  return JSON.parse(output) as Result[];
}

/** Runs an algorithm with the reward, and with its scores shuffled. */
async function learns(algorithm: string, start: string): Promise<Result> {
  const entry = (await import(new URL(`${algorithm}.mts`, directory).href)) as LearnsEntry;
  const began = performance.now();
  const before = await measure(start, start);
  const outcome = async (kind: 'right' | 'shuffled') => {
    const outputDir = join(folder, `${algorithm}-${kind}`);
    const reward = kind === 'right' ? numericReward() : shuffled(numericReward(), seed);
    const { model } = await timed(`${algorithm}, ${kind === 'right' ? 'the reward' : 'shuffled scores'}`, () => entry.run(contextOf(start, reward, outputDir)));
    return measure(model, start);
  };
  const right = await outcome('right');
  const control = await outcome('shuffled');
  const lift = right.reward - before.reward;
  const shuffledLift = control.reward - before.reward;
  const passed = lift >= least && right.kl <= entry.klBudget && shuffledLift < most;
  say(`${algorithm}: mean reward ${before.reward.toFixed(3)} before, on ${data.heldOut.size} held-out sums, ${scale.samples} samples each; lift ${lift.toFixed(3)} (≥ ${least}), KL ${right.kl.toFixed(3)} nats a completion (≤ ${entry.klBudget}); shuffled: lift ${shuffledLift.toFixed(3)} (< ${most}), KL ${control.kl.toFixed(3)}: ${passed ? 'learns' : 'FAILS'}`);
  return { algorithm, before: before.reward, lift, kl: right.kl, klBudget: entry.klBudget, shuffledLift, shuffledKl: control.kl, seconds: (performance.now() - began) / 1000, passed };
}

function contextOf(model: string, reward: RewardFunction, outputDir: string): LearnsContext {
  return {
    model, reward, outputDir, seed, inline,
    prompts: data.prompts,
    args: {
      perDeviceTrainBatchSize: 384, numGenerations: 8, maxCompletionLength, maxSteps: 150, learningRate: 5e-4, lrSchedulerType: 'linear', saveStrategy: 'no', adamBeta2: 0.95,
      outputDir: join(outputDir, 'run'), seed,
    },
  };
}

/** A new decoder, pre-trained on the corpus and fine-tuned on the demonstrations. */
async function makeStart(path: string): Promise<void> {
  const { hiddenSize, numLayers } = scale;
  const fresh = join(folder, 'fresh');
  await createModel(fresh, {
    config: { hiddenSize, numLayers, numHeads: 4, intermediateSize: 3 * hiddenSize, maxPositions: 32, initializerRange: 0.05 },
    tokenizer: characterTokenizer('0123456789+='),
    seed,
  });
  const pretrained = join(folder, 'pretrained');
  await supervised(fresh, pretrained, data.corpus, { perDeviceTrainBatchSize: scale.pretrainRows, maxSteps: scale.pretrainSteps, learningRate: 3e-3, warmupSteps: 40 });
  await supervised(pretrained, `${path}.writing`, data.demonstrations, { perDeviceTrainBatchSize: 128, maxSteps: scale.sftSteps, learningRate: 5e-4 });
  await rename(`${path}.writing`, path);
}

async function supervised(model: string, to: string, trainDataset: Dataset, args: { perDeviceTrainBatchSize: number; maxSteps: number; learningRate: number; warmupSteps?: number }): Promise<void> {
  const trainer = new SFTTrainer({ model, trainDataset, inline, args: { ...args, adamBeta2: 0.95, saveStrategy: 'no', seed, outputDir: `${to}-run` } });
  await trainer.train();
  await trainer.saveModel(to);
  await trainer.close();
}

/** Mean reward of samples (temperature 1) on held-out sums, and how far the policy is from the start there: the mean over completions of Σ log π − log π_start. */
async function measure(model: string, start: string): Promise<{ reward: number; kl: number }> {
  const engine = await openEngine({ model, inline });
  const reference = await openEngine({ model: start, inline });
  try {
    const sequences: { tokens: Int32Array; prompt: number }[] = [];
    const local = localRolloutEngine(engine);
    const prompts = allPrompts(promptSource(data.heldOut, engine.tokenizer));
    const { reward } = await evaluateReward({
      prompts, rewards: [numericReward()], samples: scale.samples, seed, sampling: { maxNewTokens: maxCompletionLength, temperature: 1 },
      rollouts: {
        ...local,
        async *generate(requests, options) {
          const prompt = new Map(requests.map((request) => [request.id, request.prompt]));
          for await (const completion of local.generate(requests, options)) {
            const before = prompt.get(completion.requestId)!;
            sequences.push({ tokens: Int32Array.of(...before, ...completion.tokens), prompt: before.length });
            yield completion;
          }
        },
      },
    });
    const tokens = sequences.map((sequence) => sequence.tokens);
    const [own, other] = [await engine.score(tokens), await reference.score(tokens)];
    const total = sequences.reduce((sum, { prompt }, i) => sum + own[i].subarray(prompt).reduce((kl, logp, t) => kl + logp - other[i][prompt + t], 0), 0);
    return { reward, kl: total / sequences.length };
  } finally {
    await engine.close();
    await reference.close();
  }
}

/** The same scores, handed to other completions of the call. */
function shuffled(reward: RewardFunction, shuffleSeed: number): RewardFunction {
  let calls = 0;
  return defineReward({
    name: reward.name,
    async score(samples, context) {
      const scores = await reward.score(samples, context);
      const order = new Random(deriveSeed(shuffleSeed, calls++)).permutation(scores.length);
      return Array.from(order, (i) => scores[i]);
    },
  });
}

async function timed<T>(what: string, work: () => Promise<T>): Promise<T> {
  const began = performance.now();
  const result = await work();
  say(`${what}: ${((performance.now() - began) / 1000).toFixed(1)} s`);
  return result;
}
