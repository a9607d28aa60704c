import { defineObjective, type Learner, type Outputs, type ScoredTrajectory, type TokenBatch } from '@espalier/spec';
import type { MetricSums } from '@espalier/spec';
import { describe, expect, it } from 'vitest';
import { adaptKlCoef } from './adaptive-kl';
import { ppo } from './algorithm';
import { minibatchSteps } from './minibatches';
import { packGroups } from './pack';
import { addMoments, momentsStd, noMoments } from './running-moments';
import { completionReward, stepRewards } from './token-rewards';

function trajectory(id: string, tokens: number[], promptLength: number, rewards: ScoredTrajectory['rewards'] = { right: 1 }, more: Partial<ScoredTrajectory> = {}): ScoredTrajectory {
  return { id, group: id[0], seed: 0, tokens: Int32Array.from(tokens), trainable: Uint8Array.from(tokens, (_, i) => Number(i >= promptLength)), samplerLogps: null, versions: [], turns: [], finishReason: 'stop', rewards, ...more };
}

/** Every log-prob −1, of the reference −1.5, every value 0.25, after a token 0.5. Notes what it was asked for. */
function stub(asked: string[] = [], name = 'policy'): Learner {
  const numbers: Record<string, number> = { logps: -1, values: 0.25, scores: 0.5 };
  return {
    forward: async ({ actionIndex }: TokenBatch, needs: readonly string[], options?: { reference?: boolean }): Promise<Outputs> => {
      asked.push(`${options?.reference ? 'reference' : name}: ${needs.join()}`);
      return Object.fromEntries(needs.map((need) => [need, new Float32Array(actionIndex.length).fill(options?.reference ? -1.5 : numbers[need])]));
    },
  } as unknown as Learner;
}
const groups = [[trajectory('a0', [5, 6, 1, 2], 2), trajectory('a1', [5, 6, 3], 2, { right: 0 })], [trajectory('b0', [7, 4], 1, { right: null }), trajectory('b1', [7, 4, 4], 1)]];
const context = (learner: Learner) => ({ step: 0, learner, rewardWeights: { right: 2 }, maxCompletionLength: 8, temperature: 1 });

describe('experience', () => {
  it('asks policy, critic and reference once each, and leaves out what nothing scored', async () => {
    const asked: string[] = [];
    const { batch, metrics, advantages } = await ppo({ klCoef: 0.1, whitenAdvantages: false, lam: 1 }, { critic: stub(asked, 'critic') }).experience(groups, context(stub(asked)));
    expect(asked).toEqual(['policy: logps', 'critic: values,scores', 'reference: logps']);
    expect([...batch.actionIndex]).toHaveLength(5);
    expect([...batch.columns.ended]).toEqual([0, 1, 1, 0, 1]);
    // −0.1 · 0.5 a token, the score after the end; γ = λ = 1
    [2 - 0.1, 2 - 0.05, -0.05, 2 - 0.1, 2 - 0.05].forEach((v, a) => expect(batch.columns.returns[a]).toBeCloseTo(v, 6));
    [2, 0, 2].forEach((v, i) => expect(batch.columns.endReturns[[1, 2, 4][i]]).toBe(v));
    expect(advantages![0][0]).toBeCloseTo((1.9 + 1.95) / 2 - 0.25, 6);
    expect(advantages![1][0]).toBeNull();
    expect(metrics).toMatchObject({ 'rewards/unscorable': 1, 'objective/kl_coef': 0.1, episode: 4, 'objective/scores': 4 / 3, reward: 4 / 3 });
    expect(metrics['objective/kl']).toBeCloseTo((1 + 0.5 + 1) / 3, 6);
  });

  it('with a shared trunk one pass gives all, without a divergence no reference is asked', async () => {
    const asked: string[] = [];
    const algorithm = ppo({ klCoef: 0, sharedTrunk: true, valueAfterEos: false });
    const { batch } = await algorithm.experience(groups, context(stub(asked)));
    expect(asked).toEqual(['policy: logps,values']);
    expect(algorithm.needsReference).toBe(false);
    expect(algorithm.policyEngine).toEqual({ scalarHead: true });
    expect(Object.keys(batch.columns).sort()).toEqual(['advantages', 'oldLogps', 'oldValues', 'returns']);
  });

  it('takes the sampler\'s log-probs where asked, and says when there are none', async () => {
    const algorithm = ppo({ klCoef: 0, oldLogps: 'sampler' }, { critic: stub() });
    const sampled = groups.map((group) => group.map((t) => ({ ...t, samplerLogps: Float32Array.from(t.tokens, (_, i) => (t.trainable[i] ? -i : NaN)) })));
    const { batch } = await algorithm.experience(sampled, context(stub()));
    expect([...batch.columns.oldLogps]).toEqual([-2, -3, -2, -1, -2]);
    // recomputed, they are compared: −1 each against −2, −3, −2, −1, −2
    const { metrics } = await ppo({ klCoef: 0 }, { critic: stub() }).experience(sampled, context(stub()));
    expect(metrics).toMatchObject({ 'sampling/sampling_logp_difference/mean': 1, 'sampling/sampling_logp_difference/max': 2 });
    await expect(algorithm.experience(groups, context(stub()))).rejects.toThrow(/`old_logps` recompute/);
  });

  it('a batch that nothing scored has nothing to train on', async () => {
    const algorithm = ppo({}, { critic: stub() });
    const { batch, metrics } = await algorithm.experience([[trajectory('a0', [5, 1], 1, { right: null })]], context(stub()));
    expect(batch.actionIndex).toHaveLength(0);
    expect(metrics).toMatchObject({ 'rewards/unscorable': 1 });
    const update = algorithm.step!(batch, { objective: algorithm.objective, temperature: 1, microBatchSize: 4, seed: 1 });
    expect([update.parts, ...update.further!]).toEqual([[], [], [], []]);
  });

  it('without a trainer the critic must be given', async () => {
    await expect(ppo().experience(groups, context(stub()))).rejects.toThrow(/the critic of ppo is not open/);
  });
});

describe('state', () => {
  it('the coefficient follows the divergence, scores their moments, and both go on after a restore', async () => {
    const make = () => ppo({ klCoef: 0.2, klTarget: 0.1, klHorizon: 100, useScoreScaling: true }, { critic: stub() });
    const algorithm = make();
    await algorithm.experience(groups, context(stub()));
    const grown = 0.2 * (1 + (0.2 * 3) / 100); // the error is clipped at 0.2; three completions were scored
    expect(algorithm.state()).toMatchObject({ klCoef: grown, episode: 4, moments: { count: 3 } });
    const resumed = make();
    resumed.restore(structuredClone(algorithm.state()));
    const [a, b] = [await algorithm.experience(groups, context(stub())), await resumed.experience(groups, context(stub()))];
    expect(b.metrics).toEqual(a.metrics);
    expect(b.metrics['objective/kl_coef']).toBe(grown);
    expect(resumed.state()).toEqual(algorithm.state());
  });

  it('Ziegler et al.: in proportion to the error near the target, by a fifth at most', () => {
    expect(adaptKlCoef(0.1, { kl: 6.6, completions: 50 }, { target: 6, horizon: 1000 })).toBeCloseTo(0.1 * (1 + (0.1 * 50) / 1000), 12);
    expect(adaptKlCoef(0.1, { kl: 0, completions: 50 }, { target: 6, horizon: 1000 })).toBeCloseTo(0.1 * (1 - (0.2 * 50) / 1000), 12);
    expect(adaptKlCoef(0.1, { kl: 600, completions: 50 }, { target: 6, horizon: 1000 })).toBeCloseTo(0.1 * (1 + (0.2 * 50) / 1000), 12);
  });

  it('running moments are those of all numbers, however they came', () => {
    const parts = [[1, 5], [-2], [], [8, 8, 1e6]];
    const all = parts.flat();
    const mean = all.reduce((a, b) => a + b) / all.length;
    const moments = parts.reduce((sum, part) => addMoments(sum, part), noMoments);
    expect(moments.mean).toBeCloseTo(mean, 6);
    expect(momentsStd(moments)).toBeCloseTo(Math.sqrt(all.reduce((a, b) => a + (b - mean) ** 2, 0) / (all.length - 1)), 4);
    expect(momentsStd(addMoments(noMoments, [3]))).toBe(1);
    expect(momentsStd(addMoments(noMoments, [3, 3, 3]))).toBe(1);
  });
});

describe('minibatches', () => {
  const { batch } = packGroups(Array.from({ length: 4 }, (_, g) => [trajectory(`${g}0`, [5, 6, 1, 2], 2), trajectory(`${g}1`, [5, 6, 3], 2)]));
  for (const name of ['advantages', 'oldLogps', 'oldValues', 'returns', 'endValues', 'endReturns']) batch.columns[name] = Float32Array.from(batch.actionIndex);
  batch.columns.ended = Float32Array.from(batch.actionIndex, (_, a) => Number(a % 3 !== 0));
  const objective = defineObjective({ name: 'x', needs: ['logps'], coupling: 'token', evaluate: () => ({ loss: 0, grads: {}, metrics: {} }) });
  const make = (seed: number, config = { numPpoEpochs: 3, numMiniBatches: 2, targetKl: undefined as number | undefined }) => minibatchSteps(batch, objective, config, { objective, temperature: 0.7, microBatchSize: 3, seed });

  it('every pass sees every completion once, in another order; means are over the minibatch', () => {
    const { parts, further } = make(1);
    const steps = [parts, ...further!];
    expect(steps).toHaveLength(6);
    const orders = new Set<string>();
    for (let epoch = 0; epoch < 3; epoch++) {
      const seen = steps.slice(2 * epoch, 2 * epoch + 2).map((step) => step.filter(({ learner }) => learner === undefined).flatMap((part) => [...part.batch.columns.advantages]));
      expect(seen.flat().sort((a, b) => a - b)).toEqual([...batch.actionIndex]);
      orders.add(JSON.stringify(seen));
    }
    expect(orders.size).toBeGreaterThan(1);
    for (const step of steps) {
      expect(step.map(({ learner }) => learner)).toEqual([undefined, 'critic', undefined, 'critic']); // 4 completions in micro-batches of 3 and 1
      const policy = step.filter(({ learner }) => learner === undefined);
      const tokens = policy.reduce((sum, part) => sum + part.batch.actionIndex.length, 0);
      const states = tokens + policy.reduce((sum, part) => sum + part.batch.columns.ended.reduce((a, b) => a + b, 0), 0);
      for (const part of step) {
        expect(part.batch.normalizer).toEqual({ tokens, sequences: 4 });
        expect(new Set(part.batch.columns.stateCount)).toEqual(new Set([states]));
        expect(part.temperature).toBe(part.learner ? undefined : 0.7);
      }
    }
  });

  it('is a function of its seed', () => {
    const orders = (seed: number) => JSON.stringify([make(seed).parts, ...make(seed).further!].map((step) => step.map((part) => [...part.batch.columns.advantages])));
    expect(orders(1)).toBe(orders(1));
    expect(orders(1)).not.toBe(orders(2));
  });

  it('has enough beyond 1.5 times the target', () => {
    const at = (approxkl: number): MetricSums => ({ 'policy/approxkl_avg': { sum: 4 * approxkl, weight: 4 } });
    const { enough } = make(1, { numPpoEpochs: 1, numMiniBatches: 1, targetKl: 0.1 });
    expect([0.1, 0.149, 0.151].map((kl) => enough!(at(kl)))).toEqual([false, false, true]);
    expect(make(1).enough).toBeUndefined();
  });

  it('TRL\'s variance of the ratio is over the minibatches', () => {
    const step = (ratio: number): MetricSums => ({ 'val/ratio': { sum: ratio * 3, weight: 3 } });
    expect(make(1).summary!([step(1), step(1.5)])).toEqual({ 'policy/updates': 2, 'val/ratio_var': 0.125 });
    expect(make(1).summary!([step(1)])).toEqual({ 'policy/updates': 1 });
  });
});

describe('rewards of single tokens', () => {
  const positions = [2, 3, 6];
  const multiTurn = trajectory('m', [5, 6, 1, 2, 8, 8, 3], 2, {}, { trainable: Uint8Array.of(0, 0, 1, 1, 0, 0, 1) });
  const rewards = (given: ScoredTrajectory['rewards'], weights = {}) => completionReward({ ...multiTurn, rewards: given }, positions, weights);

  it('are weighted and summed; a total without them falls on the end; null where nothing applies', () => {
    expect(rewards({ a: 1, b: { total: 9, perToken: Float32Array.of(1, 0, 2) }, c: null }, { a: 0.5, b: 2 })).toEqual({ score: 0.5, perToken: Float64Array.of(2, 0, 4) });
    expect(rewards({ a: { total: 3 } })).toEqual({ score: 3, perToken: null });
    expect(rewards({ a: null })).toBeNull();
    // one number a token after the prompt, what a tool wrote included
    expect(rewards({ a: { total: 0, perToken: Float32Array.of(1, 2, 7, 7, 3) } })!.perToken).toEqual(Float64Array.of(1, 2, 3));
    expect(() => rewards({ a: { total: 0, perToken: Float32Array.of(1, 2) } })).toThrow(/"a" gave 2 rewards per token for a completion of 3 tokens/);
    expect(() => rewards({ a: { total: 0, perToken: Float32Array.of(1, NaN, 0) } })).toThrow(/perToken\[1\] is NaN/);
  });

  it('rewards of steps fall on their last tokens', () => {
    expect(stepRewards(5, [{ end: 2, reward: 0.5 }, { end: 5, reward: 1 }, { end: 5, reward: 0.25 }])).toEqual(Float32Array.of(0, 0.5, 0, 0, 1.25));
    expect(() => stepRewards(3, [{ end: 4, reward: 1 }])).toThrow(/step 0 ends at 4, the completion has 3 tokens/);
    expect(() => stepRewards(3, [{ end: 1, reward: NaN }])).toThrow(/reward of step 0 is NaN/);
  });

  it('a tool\'s output between sampled tokens is no action', () => {
    const { batch, rows } = packGroups([[multiTurn]]);
    expect([...batch.actionIndex]).toEqual([2, 3, 6]);
    expect(rows[0].positions).toEqual(positions);
    expect(() => packGroups([[trajectory('x', [1, 2], 0)]])).toThrow(/begins with a sampled token/);
  });
});
