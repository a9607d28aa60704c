import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openEngine, type Engine } from '@espalier/engine';
import { characterTokenizer, createModel, openCheckpoint } from '@espalier/models';
import { defineReward, type FinishReason, type Message, type Reward, type RewardSample } from '@espalier/spec';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { averageWeights } from './average-weights';
import { aggregateRewards, rewardEnsemble } from './ensemble';
import { evaluatePairs } from './evaluate-pairs';
import { rewardMoments, RewardScale } from './normalization';
import { packPairs, tokenizePair } from './pairs';
import { processRewardModel } from './process-reward-model';
import { rewardModel } from './reward-model';
import { sigmoidOf } from './reward-loss';
import { scoredPosition, tokenizing } from './tokenizing';

let dir: string;
let engine: Engine;
const tokenizer = characterTokenizer('0123456789+=\n ');
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'espalier-serving-'));
  for (const seed of [1, 2]) {
    await createModel(join(dir, `start-${seed}`), { config: { hiddenSize: 16, numLayers: 1, numHeads: 2, maxPositions: 32, initializerRange: 0.3, scalarHead: true }, tokenizer, seed });
  }
  engine = await openEngine({ model: join(dir, 'start-1'), inline: true, precision: 'fp32' });
});
afterAll(async () => {
  await engine.close();
  await rm(dir, { recursive: true, force: true });
});

const sample = (prompt: string | Message[], completion: string, finishReason: FinishReason = 'stop'): RewardSample => ({ prompt, completion, completionTokens: tokenizer.encode(completion, { addSpecialTokens: false }), finishReason, group: '0', row: {} });
const totals = (rewards: readonly (Reward | null)[]) => rewards.map((reward) => (reward === null || typeof reward === 'number' ? reward : reward.total));
const context = { step: 0 };

describe('rewardModel', () => {
  it('gives the scores that training compares', async () => {
    const reward = rewardModel({ model: engine });
    const { tokenizer: rows, maxLength } = tokenizing(engine, null);
    const example = tokenizePair({ prompt: '1+1=', chosen: '2', rejected: '34' }, rows, { maxLength })!;
    const { scores } = await engine.learner.forward(packPairs([example]), ['scores'], { precision: 'fp32' });
    const found = await reward.score([sample('1+1=', '2'), sample('1+1=', '34')], context);
    totals(found).forEach((total, i) => expect(total).toBeCloseTo(scores![i], 5));
    expect(found[0]).toMatchObject({ components: { raw: totals(found)[0] } });
    await reward.close(); // an engine that was given stays open
    await engine.memory();
    await expect(reward.score([], context)).rejects.toMatchObject({ code: 'usage' });
  });

  it('computes what a group begins with once, with the same rewards', async () => {
    const seen: number[] = [];
    const forward = engine.learner.forward.bind(engine.learner);
    const counting: Engine = { ...engine, learner: Object.assign(Object.create(engine.learner) as typeof engine.learner, { forward: (...call: Parameters<typeof forward>) => (seen.push(call[0].tokens.length), forward(...call)) }) };
    const samples = ['2', '25', '3', '3'].map((completion, i) => ({ ...sample('1+1+1+1+1+1=', completion), group: i < 3 ? 'a' : 'b' }));
    const reward = rewardModel({ model: counting });
    const together = totals(await reward.score([...samples, { ...samples[0], completion: '4'.repeat(50) }], context));
    const alone: (number | null)[] = [];
    for (const one of samples) alone.push(...totals(await reward.score([one], context)));
    expect(together[4]).toBeNull();
    alone.forEach((value, i) => expect(together[i]).toBeCloseTo(value!, 5));
    expect(seen[0]).toBeLessThan(seen.slice(1).reduce((a, b) => a + b, 0) - 20);
  });

  it('opens a folder by itself, leaves out what is too long, and counts it', async () => {
    const logged: Record<string, number> = {};
    const reward = rewardModel({ model: join(dir, 'start-1'), inline: true, maxLength: 8, name: 'rm' });
    const found = await reward.score([sample('1+1=', '2'), sample('1+1=', '22222222')], { ...context, log: (name, value) => void (logged[name] = value) });
    expect(found[1]).toBeNull();
    expect(logged).toEqual({ 'rm/without_reward': 1 });
    await reward.close();
  });

  it('refuses a model without a head', async () => {
    await createModel(join(dir, 'bare'), { config: { hiddenSize: 16, numLayers: 1, numHeads: 2 }, tokenizer, seed: 1 });
    const reward = rewardModel({ model: join(dir, 'bare'), inline: true });
    await expect(reward.score([sample('1', '2')], context)).rejects.toMatchObject({ code: 'unsupported', message: expect.stringMatching(/no scalar head/) as string });
    await reward.close();
  });

  it('normalises by fixed numbers or by those so far, clips, and takes its state along', async () => {
    const samples = ['2', '3', '47', '5', '60'].map((completion) => sample('1+1=', completion));
    const raw = totals(await rewardModel({ model: engine }).score(samples, context)) as number[];
    const { mean, std } = rewardMoments(raw);
    const fixed = totals(await rewardModel({ model: engine, normalization: { mean, std }, clip: 0.5 }).score(samples, context));
    fixed.forEach((value, i) => expect(value).toBeCloseTo(Math.max(-0.5, Math.min(0.5, (raw[i] - mean) / std)), 5));

    const running = rewardModel({ model: engine, normalization: 'running' });
    const together = totals(await running.score(samples, context));
    together.forEach((value, i) => expect(value).toBeCloseTo((raw[i] - mean) / std, 5));
    const state = JSON.parse(JSON.stringify(running.state())) as unknown;
    expect(await running.score(samples.slice(0, 2), { ...context, evaluation: true })).toHaveLength(2);
    expect(running.state()).toEqual(state); // an evaluation is not learnt from
    const resumed = rewardModel({ model: engine, normalization: 'running' });
    resumed.restore(state);
    expect(await resumed.score(samples.slice(1, 3), context)).toEqual(await running.score(samples.slice(1, 3), context));
  });

  it('reads the score where transformers does', () => {
    expect([scoredPosition(Int32Array.of(4, 5, 2), 0), scoredPosition(Int32Array.of(4, 5, 2), 2), scoredPosition(Int32Array.of(2, 2), 2), scoredPosition(Int32Array.of(7), null)]).toEqual([2, 1, 0, 0]);
  });
});

describe('RewardScale', () => {
  it('is Welford: in parts as in one', () => {
    const values = [3, -1, 4, 1.5, -9, 2.6];
    const scale = new RewardScale('running');
    scale.apply(values.slice(0, 2));
    scale.apply(values.slice(2));
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    const { mean: running, m2, count } = scale.state();
    expect(running).toBeCloseTo(mean, 12);
    expect(m2).toBeCloseTo(values.reduce((sum, x) => sum + (x - mean) ** 2, 0), 10);
    expect(count).toBe(values.length);
    expect(new RewardScale('running').apply([5])).toEqual([0]);
    expect(new RewardScale('none', [-1, 2]).apply([-5, 0.5, 5])).toEqual([-1, 0.5, 2]);
  });

  it('refuses what makes no sense', () => {
    expect(() => new RewardScale({ mean: 0, std: 0 })).toThrow(/standard deviation 0/);
    expect(() => new RewardScale('none', 0)).toThrow(/`clip` is 0/);
    expect(() => rewardMoments([1, 1])).toThrow(/standard deviation 0/);
  });
});

describe('processRewardModel', () => {
  const text = '1+1\n2+2\n4';

  it('aggregates what it gives the steps, and puts it at their last tokens', async () => {
    const prompt = '3=';
    const own = async (completion: string) => Number(totals(await processRewardModel({ model: engine, aggregation: 'last' }).score([sample(prompt, completion)], context))[0]);
    const steps = [await own('1+1\n'), await own('1+1\n2+2\n'), await own(text)];
    for (const [aggregation, wanted] of [['min', Math.min(...steps)], ['prod', steps[0] * steps[1] * steps[2]], ['mean', (steps[0] + steps[1] + steps[2]) / 3], ['last', steps[2]]] as const) {
      const [found] = await processRewardModel({ model: engine, aggregation, perToken: true }).score([sample(prompt, text)], context);
      const { total, perToken } = found as Exclude<Reward, number>;
      expect(total).toBeCloseTo(wanted, 5);
      expect(perToken).toHaveLength(text.length);
      [3, 7, 8].forEach((t, s) => expect(perToken![t]).toBeCloseTo(steps[s], 5)); // the separators, and the end
      expect(perToken!.filter((value) => value !== 0)).toHaveLength(3);
    }
  });

  it('gives σ of the score at the end of a step, as it was trained', async () => {
    const { scores } = await engine.learner.forward(
      { tokens: Int32Array.from([...(tokenizer.bosTokenId === undefined ? [] : [tokenizer.bosTokenId]), ...tokenizer.encode('3=12\n', { addSpecialTokens: false })]), offsets: Int32Array.of(0, tokenizer.bosTokenId === undefined ? 5 : 6), actionIndex: Int32Array.of(tokenizer.bosTokenId === undefined ? 4 : 5), columns: {}, normalizer: { tokens: 1, sequences: 1 } },
      ['scores'],
      { precision: 'fp32' },
    );
    expect(totals(await processRewardModel({ model: engine }).score([sample('3=', '12')], context))[0]).toBeCloseTo(sigmoidOf(scores![0]), 5);
  });

  it('gives nothing for nothing, and refuses tokens that are not its own', async () => {
    const reward = processRewardModel({ model: engine, perToken: true });
    expect(await reward.score([sample('3=', ' \n'), sample('3=', '1\n'.repeat(20))], context)).toEqual([null, null]);
    await expect(reward.score([{ ...sample('3=', '12'), completionTokens: Int32Array.of(5) }], context)).rejects.toMatchObject({ code: 'bad_data' });
    expect(() => processRewardModel({ model: engine, stepSeparator: '' })).toThrow(/step_separator/);
    expect(() => processRewardModel({ model: engine, aggregation: 'max' as 'min' })).toThrow(/one of min/);
  });
});

describe('ensembles', () => {
  const constant = (name: string, values: (number | null)[]) => defineReward({ name, score: async (samples) => samples.map((_, i) => values[i]) });

  it('are the mean, the least, or the mean less λ times the variance', () => {
    expect(aggregateRewards([1, 2, 6])).toBe(3);
    expect(aggregateRewards([1, 2, 6], { aggregation: 'min' })).toBe(1);
    expect(aggregateRewards([1, 2, 6], { aggregation: 'uncertainty', varianceCoefficient: 0.25 })).toBeCloseTo(3 - 0.25 * ((4 + 1 + 9) / 3), 12);
    expect(() => aggregateRewards([])).toThrow(/no rewards/);
    expect(() => aggregateRewards([1], { aggregation: 'max' as 'min' })).toThrow(/one of mean/);
  });

  it('leave out who has nothing to say, name their parts, keep the state of each', async () => {
    const reward = rewardEnsemble([constant('a', [1, null, null]), constant('b', [3, 5, null])]);
    expect(await reward.score([sample('', ''), sample('', ''), sample('', '')], context)).toEqual([{ total: 2, components: { a: 1, b: 3, std: 1 } }, { total: 5, components: { b: 5, std: 0 } }, null]);
    const models = ['x', 'y'].map((name) => rewardModel({ model: engine, name, normalization: 'running' }));
    const ensemble = rewardEnsemble(models, { aggregation: 'min' });
    await ensemble.score([sample('1', '2'), sample('1', '33')], context);
    const state = ensemble.state!() as Record<string, { count: number }>;
    expect(state.x.count).toBe(2);
    const again = rewardEnsemble(['x', 'y'].map((name) => rewardModel({ model: engine, name, normalization: 'running' })));
    again.restore!(state);
    expect(again.state!()).toEqual(state);
    await ensemble.close();
    expect(() => rewardEnsemble([])).toThrow(/no members/);
    expect(() => rewardEnsemble([constant('a', []), constant('a', [])])).toThrow(/"a"/);
  });

  it('in one: weights are averaged', async () => {
    await averageWeights([join(dir, 'start-1'), join(dir, 'start-2')], join(dir, 'averaged'), { weights: [3, 1] });
    const [a, b, averaged] = await Promise.all(['start-1', 'start-2', 'averaged'].map((name) => openCheckpoint(join(dir, name))));
    expect(averaged.config).toEqual(a.config);
    for (const name of a.tensors.keys()) {
      const [x, y] = [a.read(name), b.read(name)];
      averaged.read(name).forEach((value, i) => expect(value).toBeCloseTo(0.75 * x[i] + 0.25 * y[i], 6));
    }
    for (const checkpoint of [a, b, averaged]) checkpoint.close();
    await createModel(join(dir, 'other'), { config: { hiddenSize: 8, numLayers: 1, numHeads: 2 }, tokenizer, seed: 1 });
    await expect(averageWeights([join(dir, 'start-1'), join(dir, 'other')], join(dir, 'no'))).rejects.toMatchObject({ code: 'bad_checkpoint' });
    await expect(averageWeights([join(dir, 'start-1')], join(dir, 'no'), { weights: [1, 2] })).rejects.toMatchObject({ code: 'bad_config' });
  });
});

describe('evaluatePairs', () => {
  it('gives rewards, calibration and slices of the rows that fit', async () => {
    const rows = Array.from({ length: 70 }, (_, i) => ({ prompt: `${i}+1=`, chosen: `${i + 1}`, rejected: i === 3 ? '9'.repeat(40) : `${i}`, source: i % 2 ? 'odd' : 'even', ...(i === 5 && { soft_label: 0.5 }) }));
    const found = await evaluatePairs(engine, rows, { sliceBy: (row) => String(row.source) });
    expect([found.leftOut, found.chosenRewards.length, found.slices.odd.count, found.slices.even.count]).toEqual([1, 69, 34, 35]);
    const reward = rewardModel({ model: engine });
    const again = totals(await reward.score(rows.slice(0, 3).map(({ prompt, chosen }) => sample(prompt, chosen)), context));
    again.forEach((value, i) => expect(found.chosenRewards[i]).toBeCloseTo(value!, 5));
    expect(found.labels[4]).toBe(0.5);
    expect((34 * found.slices.odd.accuracy + 35 * found.slices.even.accuracy) / 69).toBeCloseTo(found.accuracy, 10);
  });
});
