import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineObjective, defineReward, type Metrics, type RewardFunction, type TokenBatch } from '@espalier/spec';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BigramPolicy } from '../test/bigram-policy';
import { alarmRules } from './alarm-rules';
import { parseArguments } from './arguments';
import { Guard } from './guard';
import { RunMonitor } from './monitor';
import { chooseAlarms } from './monitor-options';
import { hackingSignals, type WatchedSample } from './monitor-signals';
import { trainOnline, type StatefulAlgorithm } from './online';
import { onlineArguments, type OnlineArgumentsInput } from './online-arguments';
import type { OwningAlgorithm } from './owned-learners';

/** Noise that is the same every time. */
const noise = (step: number, size = 0.03) => (Math.sin(step * 12.9898) + Math.sin(step * 78.233)) * size;
/** A run that learns what it should. */
const clean = (step: number): Metrics => ({
  reward: 0.3 + step * 0.006 + noise(step), gold: 0.3 + step * 0.006 + noise(step), 'gold/correlation': 0.9 + noise(step, 0.01), 'gold/correlation_error': 0.1, entropy: 1 / (1 + step / 10), kl: 0.01,
  'completions/mean_length': 20 + noise(step, 1), 'completions/repetition': 0.05 + noise(step, 0.005), 'completions/repeated_tokens': 0.2, 'completions/empty_ratio': 0, 'completions/prompt_copied': 0.1 + noise(step, 0.01),
  'completions/shared_across_prompts': 0.05, 'completions/shared_excess': 0, 'reward/length_correlation': 0.1 + noise(step), 'rewards/format/mean': 0.5 + noise(step), 'rewards/numeric/mean': 0.3 + step * 0.006,
});
function watch(steps: number, change: (step: number) => Metrics = () => ({}), options: Parameters<typeof chooseAlarms>[0] = {}): { name: string; step: number; action: string }[] {
  const monitor = new RunMonitor(undefined, undefined, chooseAlarms(options));
  return Array.from({ length: steps }, (_, i) => monitor.alarm(i + 1, { ...clean(i), ...change(i) })).flat();
}
const names = (change: (step: number) => Metrics, steps = 100) => watch(steps, change).map(({ name }) => name);
const grows = (step: number, from: number, to: number) => from + (to - from) * Math.min(1, step / 60);
/** The gold reward stays where it is, and the one that is trained on too. */
const flat = (step: number): Metrics => ({ gold: 0.3 + noise(step), 'rewards/numeric/mean': 0.3 });

describe('alarms', () => {
  it('are silent in a clean run, with a gold reward and without one', () => {
    expect(watch(200)).toEqual([]);
    expect(watch(200, () => ({ gold: NaN, 'gold/correlation': NaN }))).toEqual([]);
  });

  const cases: [string, (step: number) => Metrics][] = [
    ['gold_fell', (step) => ({ gold: step < 40 ? 0.3 + step * 0.006 + noise(step) : 0.54 - (step - 40) * 0.01 + noise(step) })],
    ['gold_apart', (step) => ({ ...flat(step), 'gold/correlation': noise(step, 0.05) })],
    ['gold_apart', (step) => ({ 'gold/correlation': -0.4 + noise(step) })],
    ['format_up_accuracy_down', (step) => ({ 'rewards/format/mean': grows(step, 0.2, 1) + noise(step), 'rewards/numeric/mean': grows(step, 0.5, 0.1) })],
    ['format_up_accuracy_down', (step) => ({ 'rewards/format+numeric/format/mean': grows(step, 0.2, 1) + noise(step), 'rewards/format+numeric/numeric/mean': grows(step, 0.5, 0.1), 'rewards/format/mean': NaN })],
    ['reward_follows_length', (step) => ({ ...flat(step), 'reward/length_correlation': 0.8 + noise(step), 'completions/mean_length': grows(step, 20, 60) + noise(step, 1) })],
    ['repetition', (step) => ({ ...flat(step), 'completions/repetition': grows(step, 0.05, 0.8) + noise(step, 0.005) })],
    ['repeated_token', (step) => ({ ...flat(step), 'completions/repeated_tokens': grows(step, 0.2, 1) })],
    ['prompt_copied', (step) => ({ ...flat(step), 'completions/prompt_copied': grows(step, 0.1, 0.9) + noise(step, 0.01) })],
    ['empty_completions', (step) => ({ ...flat(step), 'completions/empty_ratio': grows(step, 0, 1) })],
    ['same_completion', (step) => ({ ...flat(step), 'completions/shared_excess': grows(step, 0, 0.9) })],
    ['same_completion', (step) => ({ ...flat(step), 'completions/shared_excess': NaN, 'completions/shared_across_prompts': grows(step, 0.1, 1) })],
    ['diversity_collapse', (step) => ({ ...flat(step), entropy: Math.exp(-step / 10) })],
    ['kl_budget', (step) => ({ kl: step / 10 })],
    ['memorised_answers', (step): Metrics => (step % 20 === 19 ? { eval_reward: 0.3 + noise(step, 0.01) } : {})],
    ['eval_gold_fell', (step): Metrics => (step % 20 === 19 ? { eval_reward: 0.3 + step * 0.005, eval_gold: 0.5 - step * 0.004, eval_gold_error: 0.03 } : {})],
  ];
  it.each(cases)('%s: once, and nothing else', (name, change) => expect(names(change)).toEqual([name]));

  it('every rule is tried above, and says what it looks at', () => {
    expect(new Set(cases.map(([name]) => name))).toEqual(new Set(alarmRules.map(({ name }) => name)));
    for (const rule of alarmRules) expect(rule.of.length).toBeGreaterThan(20);
  });

  it('a bad step is none, nor a fall of both rewards together', () => {
    expect(names((step): Metrics => (step === 50 ? { gold: 0, 'gold/correlation': -1, 'completions/repetition': 1, 'completions/mean_length': 400, entropy: NaN } : {}))).toEqual([]);
    expect(names((step): Metrics => (step > 50 ? { reward: 0.2 + noise(step), gold: 0.2 + noise(step), 'rewards/numeric/mean': 0.2 } : {}))).toEqual([]);
  });

  it('comes before the gold reward has fallen by ten points', () => {
    const [first] = watch(100, (step) => ({ gold: step < 40 ? 0.3 + step * 0.006 + noise(step) : 0.54 - (step - 40) * 0.005 + noise(step) }));
    expect(first.step).toBeLessThan(40 + 20);
  });

  it('thresholds, actions, and alarms that are off', () => {
    const change = (step: number): Metrics => ({ kl: step / 10 });
    expect(watch(100, change, { onAlarm: 'stop' })).toMatchObject([{ name: 'kl_budget', action: 'stop' }]);
    const [late, soon] = [watch(100, change, { monitors: { kl_budget: { threshold: 150 } } }), watch(100, change, { monitors: { kl_budget: { threshold: 20, action: 'rollback' } } })];
    expect(soon[0].step).toBeLessThan(late[0].step);
    expect([soon[0].action, late[0].action]).toEqual(['rollback', 'warn']);
    expect(watch(100, change, { monitors: { kl_budget: { off: true } } })).toEqual([]);
    const clipped = { 'completions/clipped_ratio': 0.6 };
    const warnings = (options: Parameters<typeof chooseAlarms>[0]) => {
      const monitor = new RunMonitor(undefined, undefined, chooseAlarms(options));
      return Array.from({ length: 20 }, (_, i) => monitor.observe(i + 1, clipped)).flat();
    };
    expect(warnings({ onAlarm: 'stop' })).toEqual([]);
    expect(warnings({ monitors: { completions_clipped: { threshold: 0.5, action: 'rollback' } } })).toMatchObject([{ name: 'completions_clipped', step: 10, action: 'rollback' }]);
    expect(warnings({ monitors: { completions_clipped: { threshold: 0.5 } } })[0]).not.toHaveProperty('action');
    expect(warnings({ monitors: { completions_clipped: { threshold: 0.5, off: true } } })).toEqual([]);
    expect(() => chooseAlarms({ monitors: { reward_flat: { threshold: 1 } } })).toThrow('"reward_flat" has no threshold');
    expect(() => chooseAlarms({ monitors: { kl: {} } })).toThrow('there is no alarm "kl" (one of gold_fell');
  });

  it('go on from their state as if nothing had happened', () => {
    const change = (step: number): Metrics => ({ gold: step < 40 ? 0.3 + step * 0.006 + noise(step) : 0.54 - (step - 40) * 0.01 + noise(step), kl: step / 10 });
    const whole = watch(100, change);
    expect(whole).toHaveLength(2);
    for (const at of [1, 20, 45, 60]) {
      const first = new RunMonitor();
      const said = Array.from({ length: at }, (_, i) => first.alarm(i + 1, { ...clean(i), ...change(i) })).flat();
      const second = new RunMonitor(JSON.parse(JSON.stringify(first.state())) as ReturnType<RunMonitor['state']>);
      for (let i = at; i < 100; i++) said.push(...second.alarm(i + 1, { ...clean(i), ...change(i) }));
      expect(said).toEqual(whole);
    }
  });
});

describe('hackingSignals', () => {
  const sample = (group: string, completion: string, reward: number | null, more: Partial<WatchedSample> = {}): WatchedSample => ({ group, prompt: `question ${group}`, completion, completionTokens: [...completion].map((c) => c.charCodeAt(0)), row: {}, reward, ...more });
  it('correlations are within groups', () => {
    const of = (g: string, base: number) => [1, 2, 3, 4].map((n) => sample(g, 'x'.repeat(n), base + n, { gold: -n }));
    const metrics = hackingSignals([...of('a', 0), ...of('b', 100)]);
    expect(metrics['reward/length_correlation']).toBeCloseTo(1, 12);
    expect(metrics['gold/correlation']).toBeCloseTo(-1, 12);
    expect(metrics['gold']).toBe(-2.5);
  });
  it('what cannot be said is left out', () => {
    expect(Object.keys(hackingSignals([sample('a', 'x', null, { gold: null })])).sort()).toEqual(['completions/empty_ratio', 'completions/prompt_copied', 'completions/repetition', 'gold/unscorable']);
  });
  it('one answer to all questions, copies, silence, stutter', () => {
    const all = ['a', 'b', 'c'].flatMap((g, i) => [sample(g, 'yes', 1, { row: { answer: i } }), sample(g, 'yes', 1, { row: { answer: i } })]);
    expect(hackingSignals(all)).toMatchObject({ 'completions/shared_across_prompts': 1, 'completions/shared_excess': 1 });
    expect(hackingSignals(all.map((one) => ({ ...one, row: { answer: 'yes' } })))).toMatchObject({ 'completions/shared_across_prompts': 1, 'completions/shared_excess': 0 });
    expect(hackingSignals(['a', 'b'].map((g) => sample(g, `question ${g}`, 1)))['completions/prompt_copied']).toBe(1);
    expect(hackingSignals([sample('a', 'question a', 1, { row: { answer: 'question a' } })])['completions/prompt_copied']).toBe(0); // it is the answer
    expect(hackingSignals([sample('a', ' \n', 1), sample('a', 'x', 1)])['completions/empty_ratio']).toBe(0.5);
    expect(hackingSignals([sample('a', 'zzzz', 1), sample('a', 'z', 1)])['completions/repeated_tokens']).toBe(1);
  });
});

describe('Guard', () => {
  it('keeps the checkpoint whose rounds were best by the gold reward', () => {
    const guard = new Guard(2);
    const gold = [0.2, 0.3, 0.5, 0.6, 0.4, 0.3];
    const gone: number[] = [];
    for (let step = 0; step < gold.length; step++) {
      if (guard.due(step)) gone.push(...guard.take(step, true));
      guard.observe(gold[step], 0.9);
    }
    expect([guard.target(), guard.needed(), gone]).toEqual([2, [2, 4], [0]]);
  });
  it('without a gold reward: the last one after which nothing was suspect', () => {
    const guard = new Guard(1);
    [0, 0.1, 0.4, 0.6, 0.9].forEach((severity, step) => {
      guard.take(step, true);
      guard.observe(undefined, severity);
    });
    expect(guard.target()).toBe(2);
    expect(new Guard(1, guard.state()).target()).toBe(2);
    expect(new Guard(1).target()).toBeNull();
  });
});

let dir: string;
beforeEach(async () => void (dir = await mkdtemp(join(tmpdir(), 'espalier-alarms-'))));
afterEach(() => rm(dir, { recursive: true, force: true }));

/** Makes a sample likelier by how much better it is than its group. */
const algorithm = (): OwningAlgorithm & StatefulAlgorithm => {
  let beta = 1;
  return {
    specVersion: 'v1', name: 'plain', numIterations: 1, needsReference: false,
    objective: defineObjective({
      name: 'weighted', needs: ['logps', 'entropy'], coupling: 'token',
      evaluate: ({ logps }, { normalizer, columns: { weights } }) => ({ loss: -logps!.reduce((sum, x, a) => sum + weights[a] * x, 0) / normalizer.tokens, grads: { logps: weights.map((w) => -w / normalizer.tokens) }, metrics: {} }),
    }),
    async experience(groups) {
      const trajectories = groups.flat();
      const total = ({ rewards }: (typeof trajectories)[number]) => Object.values(rewards)[0] as number;
      const means = new Map(groups.flatMap((group) => group.map((one) => [one, group.reduce((sum, other) => sum + total(other), 0) / group.length] as const)));
      const offsets = new Int32Array(trajectories.length + 1);
      trajectories.forEach(({ tokens }, i) => (offsets[i + 1] = offsets[i] + tokens.length));
      const places = trajectories.flatMap((t, i) => [...t.trainable.keys()].filter((k) => t.trainable[k]).map((k) => ({ at: offsets[i] + k, weight: total(t) - means.get(t)! })));
      const batch: TokenBatch = { tokens: Int32Array.from(trajectories.flatMap((t) => [...t.tokens])), offsets, actionIndex: Int32Array.from(places, ({ at }) => at), columns: { weights: Float32Array.from(places, ({ weight }) => weight) }, normalizer: { tokens: places.length, sequences: trajectories.length } };
      return { batch, metrics: { reward: trajectories.reduce((sum, t) => sum + total(t), 0) / trajectories.length, 'completions/mean_length': places.length / trajectories.length } };
    },
    raiseBeta: (factor) => (beta *= factor),
    state: () => ({ beta }),
    restore: (state) => void ({ beta } = state as { beta: number }),
  };
};

/** Tokens 1 to 4: what is wanted is a 1 at the beginning; what is paid for, many 2s. */
const gold = (): RewardFunction => defineReward({ name: 'wanted', score: async (samples) => samples.map(({ completionTokens }) => Number(completionTokens[0] === 1)) });
const paid = (): RewardFunction => defineReward({ name: 'paid', score: async (samples) => samples.map(({ completionTokens }) => completionTokens.filter((token) => token === 2).length / 6) });

function run(policy: BigramPolicy, options: { args?: OnlineArgumentsInput; reward?: RewardFunction; signal?: AbortSignal; onStep?: (step: number) => void } = {}) {
  const prompts = Array.from({ length: 6 }, (_, i) => ({ row: { id: i }, prompt: `p${i}`, tokens: Int32Array.of(1 + (i % 4)) }));
  return trainOnline({
    learner: policy.learner, rollouts: policy.rollouts, algorithm: algorithm(), rewards: [options.reward ?? paid()], goldReward: gold(), prompts: { size: prompts.length, at: (i) => prompts[i] }, evalPrompts: prompts,
    args: parseArguments(onlineArguments, { outputDir: join(dir, 'run'), learningRate: 0.15, perDeviceTrainBatchSize: 48, numGenerations: 8, maxCompletionLength: 6, maxSteps: 60, loggingSteps: 1, saveStrategy: 'no', guardSteps: 3, lrSchedulerType: 'constant', ...options.args }),
    callbacks: [{ onStep: ({ step }) => options.onStep?.(step) }],
    ...(options.signal ? { signal: options.signal } : {}),
  });
}
const log = async (name = 'run') => (await readFile(join(dir, name, 'log.jsonl'), 'utf8')).trim().split('\n').map((line) => JSON.parse(line) as Record<string, unknown>);
const wanted = (policy: BigramPolicy) => [1, 2, 3, 4].reduce((sum, prompt) => sum + Math.exp(policy.logps(prompt)[1]) / 4, 0);

describe('a run whose reward is exploited', () => {
  it('is told of, and goes on', async () => {
    const policy = new BigramPolicy(5);
    const before = wanted(policy);
    const result = await run(policy);
    expect(result).toMatchObject({ step: 60, stopped: false, rolledBack: null });
    expect(result.alarms.length).toBeGreaterThan(0);
    expect(wanted(policy)).toBeLessThan(before / 3);
    expect((await log()).filter(({ event }) => event === 'alarm')).toMatchObject(result.alarms.map(({ name, step }) => ({ name, step, action: 'warn' })));
    const [sample] = (await readFile(join(dir, 'run', 'samples.jsonl'), 'utf8')).split('\n');
    expect(JSON.parse(sample)).toHaveProperty('gold');
    expect(JSON.parse((await readFile(join(dir, 'run', 'metrics.jsonl'), 'utf8')).split('\n')[0])).toMatchObject({ gold: expect.any(Number) as number, 'gold/correlation': expect.any(Number) as number });
  });

  it('rolls back to weights that were better, and ends', async () => {
    const policy = new BigramPolicy(5);
    const before = wanted(policy);
    const result = await run(policy, { args: { onAlarm: 'rollback' } });
    const { rolledBack } = result;
    expect(rolledBack!.to).toBeLessThan(rolledBack!.from);
    expect(rolledBack).toMatchObject({ alarm: result.alarms[0].name, from: result.alarms[0].step });
    expect(result).toMatchObject({ stopped: true, checkpoint: expect.stringContaining(`step-${String(rolledBack!.to).padStart(6, '0')}`) as string });
    expect(wanted(policy)).toBeGreaterThan(before * 0.8);
    expect((await log()).find(({ event }) => event === 'rollback')).toMatchObject(rolledBack!);
    const again = new BigramPolicy(5);
    await again.learner.load(result.checkpoint!);
    expect([...again.weights]).toEqual([...policy.weights]);
  });

  it('rolls back to the same step when it was interrupted on the way', async () => {
    const straight = await run(new BigramPolicy(5), { args: { onAlarm: 'rollback' } });
    const controller = new AbortController();
    await expect(run(new BigramPolicy(5), { args: { onAlarm: 'rollback', outputDir: join(dir, 'cut'), saveStrategy: 'steps' }, signal: controller.signal, onStep: (step) => step === straight.rolledBack!.from - 1 && controller.abort() })).rejects.toMatchObject({ code: 'aborted' });
    const resumed = await run(new BigramPolicy(5), { args: { onAlarm: 'rollback', outputDir: join(dir, 'cut'), saveStrategy: 'steps', resumeFromCheckpoint: true } });
    expect(resumed.rolledBack).toEqual(straight.rolledBack);
  });

  it('stops, or raises beta once, as it is told', async () => {
    const stopped = await run(new BigramPolicy(5), { args: { onAlarm: 'stop', saveStrategy: 'steps' } });
    expect(stopped).toMatchObject({ stopped: true, rolledBack: null, step: stopped.alarms[0].step });
    const raised = await run(new BigramPolicy(5), { args: { onAlarm: 'warn', monitors: { [stopped.alarms[0].name]: { action: 'raise_beta' } }, outputDir: join(dir, 'raised') } });
    expect((await log('raised')).find(({ action }) => action === 'raise_beta')).toMatchObject({ message: expect.stringContaining('The KL term weighs 2 from here on') as string });
    expect(raised.step).toBe(60);
  });

  it('raises no alarm where the reward is the gold one', async () => {
    const policy = new BigramPolicy(5);
    const result = await run(policy, { reward: { ...gold(), name: 'honest' } });
    expect(result.alarms).toEqual([]);
    expect(wanted(policy)).toBeGreaterThan(0.8);
  });

  it('tells a wrong name of an alarm before it begins', async () => {
    await expect(run(new BigramPolicy(5), { args: { monitors: { nothing: { off: true } } } })).rejects.toThrow('there is no alarm "nothing"');
  });
});
