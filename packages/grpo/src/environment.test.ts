import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { characterTokenizer, createModel } from '@espalier/models';
import { defineTool, guessingGame, type EnvironmentFactory } from '@espalier/rollouts';
import { defineEnvironment, defineReward, type Metrics, type RewardSample } from '@espalier/spec';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { GRPOTrainer, type GRPOTrainerOptions } from './trainer';
import { RLOOTrainer } from './rloo-trainer';
import { ReinforcePlusPlusTrainer } from './reinforce-trainer';

let dir: string;
/** A turn is closed by `<|end|>`; what is not a reply stands between `:` and `>`. */
const chatTemplate = "{% for message in messages %}{% if message['role'] == 'assistant' %}{{ message['content'] + '<|end|>' }}{% else %}{{ ':' + message['content'] + '>' }}{% endif %}{% endfor %}";
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'espalier-environment-'));
  await createModel(join(dir, 'model'), { config: { hiddenSize: 16, numLayers: 2, numHeads: 2, maxPositions: 64 }, tokenizer: characterTokenizer('0123456789:><?', { chatTemplate }), seed: 1 });
});
afterAll(async () => rm(dir, { recursive: true, force: true }));

const game: EnvironmentFactory = () => guessingGame({ max: 9, maxGuesses: 3, prompt: '{max}', higher: '>', lower: '<', unclear: '?' });
const args: GRPOTrainerOptions['args'] = { maxSteps: 4, perDeviceTrainBatchSize: 8, numGenerations: 4, maxCompletionLength: 16, maxTurnTokens: 3, learningRate: 3e-3, loggingSteps: 1, saveSteps: 2 };
const make = (name: string, more: Partial<GRPOTrainerOptions> = {}) =>
  new GRPOTrainer({ model: join(dir, 'model'), trainDataset: Array.from({ length: 6 }, () => ({})), environment: game, inline: true, ...more, args: { ...args, ...more.args, outputDir: join(dir, name) } });
const lines = async (name: string, file: string) => (await readFile(join(dir, name, file), 'utf8')).split('\n').filter(Boolean).map((line) => JSON.parse(line) as Record<string, unknown>);

describe('GRPO in an environment', () => {
  it('samples and learns on the same ids: the log-probs of both agree over all turns, and nothing else is an action', async () => {
    const seen: Metrics[] = [];
    const run = make('agree', { evalDataset: [{}, {}], callbacks: [{ onStep: (_, metrics) => void seen.push(metrics) }], args: { logCompletions: true } });
    const { metrics } = await run.train();
    const evaluation = await run.evaluate({ samples: 2 });
    await run.close();
    for (const step of seen) expect(step['sampling/sampling_logp_difference/max']).toBeLessThan(1e-3); // one set of weights, two ways to compute
    for (const name of ['turns/mean', 'turns/max', 'turns/limit_ratio', 'environment/failure_frequency', 'rewards/guess/mean', 'rewards/guess/won/mean', 'reward']) expect(metrics, name).toHaveProperty([name]);
    expect(metrics).not.toHaveProperty(['tools/call_frequency']);
    expect(seen.some((step) => step['turns/mean'] > 1)).toBe(true);
    expect(evaluation).toMatchObject({ rows: 2, completions: 4, rewards: { guess: expect.any(Number) }, meanTurns: expect.any(Number) });
    const samples = await lines('agree', 'samples.jsonl');
    const several = samples.find(({ turns }) => (turns as number) > 1)!;
    expect(several['completion']).toMatch(/\n\[user\] [<>?]\n/);
    expect(several['logps']).toHaveLength(several['tokens'] as number);
  });

  it('goes on after an interruption to the same bytes', async () => {
    const straight = make('straight');
    await straight.train();
    await straight.close();
    const controller = new AbortController();
    const first = make('stopped', { callbacks: [{ onStep: ({ step }) => void (step === 3 && controller.abort()) }] });
    await expect(first.train({ signal: controller.signal })).rejects.toMatchObject({ code: 'aborted' });
    await first.close();
    // Every call takes another time, and fewer run at once.
    const second = make('stopped', { environment: () => { const inner = game() as ReturnType<typeof guessingGame>; return { ...inner, step: async (reply, options) => (await new Promise((done) => setTimeout(done, Math.random() * 5)), inner.step(reply, options)) }; } });
    await second.train({ resume: true });
    await second.close();
    const weights = (name: string) => readFile(join(dir, name, 'checkpoints', 'step-000004', 'model.safetensors'));
    expect((await weights('stopped')).equals(await weights('straight'))).toBe(true);
    const other = make('stopped', { environment: () => ({ ...(game() as ReturnType<typeof guessingGame>), name: 'other' }) });
    await expect(other.train({ resume: true })).rejects.toMatchObject({ code: 'bad_config', message: expect.stringContaining('environment') });
    await other.close();
  });

  it('leaves out what its environment failed, and shows it to no reward function', async () => {
    const shown: RewardSample[] = [];
    const length = defineReward({ name: 'length', score: async (samples) => (shown.push(...samples), samples.map(({ completionTokens }) => completionTokens.length)) });
    let step = 0;
    const fragile: EnvironmentFactory = () => { const inner = game() as ReturnType<typeof guessingGame>; return { ...inner, step: async (reply, options) => { if (step++ % 5 === 4) throw new Error('lost the connection'); return inner.step(reply, options); } }; };
    const run = make('fragile', { environment: fragile, rewardFuncs: length, args: { logCompletions: true, maxSteps: 2 } });
    const { metrics } = await run.train();
    await run.close();
    const samples = await lines('fragile', 'samples.jsonl');
    const failed = samples.filter((sample) => 'failure' in sample);
    expect(failed.length).toBeGreaterThan(0);
    for (const sample of failed) expect(sample).toMatchObject({ reward: null, rewards: { length: null, guess: null }, finish_reason: 'aborted', failure: expect.stringContaining('lost the connection') });
    expect(shown.length).toBe(samples.length - failed.length);
    for (const sample of shown) expect(sample.messages!.at(-1)!.role).toBe('assistant');
    expect(metrics['environment/failure_frequency']).toBeGreaterThan(0);
  });

  it('takes tools: calls are answered and counted', async () => {
    // A policy that calls the tool whatever it is told: the call is the way a model without words can write one.
    const count = defineTool({ name: 'count', description: 'Counts.', parameters: z.object({}), execute: () => 1 });
    const asking: EnvironmentFactory = async () => {
      const { toolEnvironment } = await import('@espalier/rollouts');
      const inner = toolEnvironment({ tools: [count] });
      let turn = 0;
      // This model cannot write JSON: its first reply is taken for a call, and its second for one of an unknown tool.
      const words = ['<tool_call>{"name": "count", "arguments": {}}</tool_call>', '<tool_call>{"name": "no", "arguments": {}}</tool_call>'];
      return defineEnvironment({ ...inner, tools: [], name: 'asking', reset: (row, seed, options) => ((turn = 0), inner.reset(row, seed, options)), step: async (reply, options) => { const step = await inner.step({ ...reply, content: words[turn++] ?? '7' }, options); return { ...step, observation: step.observation?.map(() => ({ role: 'tool', content: '1' })) ?? [] }; } });
    };
    const run = make('tools', { environment: asking, rewardFuncs: defineReward({ name: 'short', score: async (samples) => samples.map(({ completionTokens }) => -completionTokens.length) }), trainDataset: [{ prompt: '12' }, { prompt: '3' }], args: { maxSteps: 1, maxCompletionLength: 30 } });
    const { metrics } = await run.train();
    await run.close();
    expect(metrics).toMatchObject({ 'tools/call_frequency': 2, 'tools/failure_frequency': 0.5, 'turns/mean': 3 });
  });

  it('refuses what does not go together', () => {
    const tools = [defineTool({ name: 'a', description: 'b', parameters: z.object({}), execute: () => 1 })];
    expect(() => make('x', { tools })).toThrow(/`environment` and `tools` are both given/);
    const none = { model: join(dir, 'model'), trainDataset: [{ prompt: '1' }], args: { outputDir: join(dir, 'x'), perDeviceTrainBatchSize: 8 } };
    expect(() => new GRPOTrainer(none)).toThrow(/there is no reward function/);
    expect(() => new GRPOTrainer({ ...none, rewardFuncs: defineReward({ name: 'r', score: async () => [] }), args: { ...none.args, maxTurns: 3 } })).toThrow(/`max_turns` is given and there is no environment/);
  });
});

it.each([['RLOO', RLOOTrainer], ['REINFORCE++', ReinforcePlusPlusTrainer]] as const)('%s in an environment trains', async (name, Trainer) => {
  const run = new Trainer({ model: join(dir, 'model'), trainDataset: [{}, {}], environment: game, inline: true, args: { outputDir: join(dir, name), maxSteps: 2, perDeviceTrainBatchSize: 8, numGenerations: 4, maxCompletionLength: 16, maxTurnTokens: 3, loggingSteps: 1, saveStrategy: 'no', maxTurns: 2 } });
  const { metrics } = await run.train();
  await run.close();
  expect(metrics).toMatchObject({ 'turns/max': 2, 'rewards/guess/mean': expect.any(Number), loss: expect.any(Number) });
  expect(Number.isFinite(metrics['loss'])).toBe(true);
});
