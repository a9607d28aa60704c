import { defineAlgorithm, defineObjective, type Learner, type Objective, type ScoredTrajectory, type TokenBatch } from '@espalier/spec';
import { describe, expect, it } from 'vitest';
import { klObjective, withKl } from './kl';
import { packTrajectories } from './trajectory-batch';
import { rpt } from './rpt';
import type { StatefulAlgorithm } from '@espalier/trainer';

const batch: TokenBatch = {
  tokens: Int32Array.of(1, 2, 3, 4), offsets: Int32Array.of(0, 4), actionIndex: Int32Array.of(1, 2, 3),
  columns: { refLogps: Float32Array.of(-1.25, -0.5, -2), advantages: Float32Array.of(1, -1, 0.5) }, normalizer: { tokens: 3, sequences: 1 },
};
const policyGradient: Objective = defineObjective({
  name: 'pg', needs: ['logps'], coupling: 'token',
  evaluate: ({ logps }, { columns, normalizer }) => ({
    loss: -logps!.reduce((sum, logp, a) => sum + logp * columns.advantages[a], 0) / normalizer.tokens,
    grads: { logps: columns.advantages.map((a) => -a / normalizer.tokens) },
    metrics: {},
  }),
});

function trajectory(id: string, tokens: number[], promptLength: number, reward: number | null): ScoredTrajectory {
  return { id, group: id[0], seed: 0, tokens: Int32Array.from(tokens), trainable: Uint8Array.from(tokens, (_, i) => Number(i >= promptLength)), samplerLogps: null, versions: [], turns: [], finishReason: 'stop', rewards: { right: reward } };
}
const groups = [[trajectory('a0', [5, 6, 1, 2], 2, 1), trajectory('a1', [5, 6, 3], 2, 0)], [trajectory('b0', [7, 4], 1, null), trajectory('b1', [7, 4, 4], 1, 1)]];

/** The policy gives every token −1, the reference −1.5: every k1 is 0.5. */
const learner = { forward: async ({ actionIndex }: TokenBatch, _needs: unknown, options?: { reference?: boolean }) => ({ logps: new Float32Array(actionIndex.length).fill(options?.reference ? -1.5 : -1) }) } as unknown as Learner;
const context = { step: 0, learner, rewardWeights: {}, maxCompletionLength: 8, temperature: 1 };
const seen: ScoredTrajectory[][] = [];
const inner = defineAlgorithm({
  name: 'inner', objective: policyGradient, numIterations: 1, needsReference: false,
  async experience(given) {
    seen.length = 0;
    seen.push(...given.map((group) => [...group]));
    return { batch: packTrajectories(given).batch, metrics: { reward: 1 } };
  },
});

describe('KL in the loss', () => {
  it.each(['k2', 'k3'] as const)('%s: the derivative is that of the loss', (estimator) => {
    const objective = klObjective(policyGradient, estimator, () => 0.3);
    const at = (logps: number[]) => objective.evaluate({ logps: Float32Array.from(logps) }, batch);
    const point = [-1, -0.75, -1.5]; // exact in float32, as the steps are
    const { grads } = at(point);
    for (let i = 0; i < 3; i++) {
      const h = 2 ** -10;
      const numeric = (at(point.map((x, j) => (j === i ? x + h : x))).loss - at(point.map((x, j) => (j === i ? x - h : x))).loss) / (2 * h);
      expect(grads.logps![i]).toBeCloseTo(numeric, 5);
    }
  });

  it('adds β times the mean divergence, which it logs', () => {
    const logps = Float32Array.from(batch.columns.refLogps, (r) => r + 0.5);
    const { loss, metrics } = klObjective(policyGradient, 'k2', () => 0.4).evaluate({ logps }, batch);
    expect(loss - policyGradient.evaluate({ logps }, batch).loss).toBeCloseTo(0.4 * (0.5 ** 2 / 2), 6);
    expect(metrics.kl.sum / metrics.kl.weight).toBeCloseTo(0.125, 6);
  });

  it('refuses k1, asks for the reference, and brings refLogps', async () => {
    expect(() => withKl(inner, { coefficient: 0.1, estimator: 'k1' })).toThrow(/k1 in the loss .*k2 or k3/);
    const algorithm = withKl(inner, { coefficient: 0.1 });
    expect(algorithm.needsReference).toBe(true);
    const { batch: made, metrics } = await algorithm.experience(groups, context);
    expect([...made.columns.refLogps]).toEqual(new Array(6).fill(-1.5));
    expect(metrics).toEqual({ reward: 1, kl_coef: 0.1 });
  });
});

describe('KL in the reward', () => {
  it('is one more reward, the sum over the completion; what nothing scored stays unscored', async () => {
    const { metrics } = await withKl(inner, { coefficient: 0.1, placement: 'reward' }).experience(groups, context);
    const penalties = seen.flat().map(({ rewards }) => rewards.kl_penalty);
    expect(penalties[0]).toBeCloseTo(-0.1 * 0.5 * 2, 6);
    expect(penalties[1]).toBeCloseTo(-0.1 * 0.5, 6);
    expect(penalties[2]).toBeNull();
    expect(seen[0][0].rewards.right).toBe(1);
    expect(metrics).toMatchObject({ kl: 0.5, kl_coef: 0.1 });
  });
});

describe('the adaptive weight', () => {
  it.each(['loss', 'reward'] as const)('grows by Ziegler et al.\'s rule when the divergence is over the target, and is saved (%s)', async (placement) => {
    const make = () => rpt({ algorithm: inner, kl: { coefficient: 0.2, placement, estimator: placement === 'loss' ? 'k2' : 'k1', adaptive: { target: 0.01, horizon: 100 } } }) as StatefulAlgorithm;
    const algorithm = make();
    await algorithm.experience(groups, context);
    const grown = 0.2 * (1 + (0.2 * 4) / 100); // clipped at 0.2, over four completions
    expect(algorithm.state()).toEqual({ coefficient: grown });
    const resumed = make();
    resumed.restore(algorithm.state());
    expect((await resumed.experience(groups, context)).metrics.kl_coef).toBe(grown);
  });
});

it('packs groups with their prompt once', () => {
  const { batch: packed, owner } = packTrajectories(groups);
  expect([...packed.tokens]).toEqual([5, 6, 1, 2, 3, 7, 4, 4, 4]);
  expect([...packed.offsets]).toEqual([0, 2, 4, 5, 6, 7, 9]);
  expect([...packed.prefixOf!]).toEqual([-1, 0, 0, -1, 3, 3]);
  expect([...packed.actionIndex]).toEqual([2, 3, 4, 6, 7, 8]);
  expect(owner.map(({ id }) => id)).toEqual(['a0', 'a0', 'a1', 'b0', 'b1', 'b1']);
});
