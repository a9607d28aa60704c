import { defineAlgorithm, defineObjective, type ScoredTrajectory } from '@espalier/spec';
import { expect, it } from 'vitest';
import { rankedPairs } from './ranked-pairs';
import { packTrajectories } from './trajectory-batch';

const seen: string[][] = [];
const onPairs = defineAlgorithm({
  name: 'pairs', numIterations: 1, needsReference: false,
  objective: defineObjective({ name: 'none', needs: ['logps'], coupling: 'pair', evaluate: ({ logps }) => ({ loss: 0, grads: { logps: new Float32Array(logps!.length) }, metrics: {} }) }),
  async experience(groups) {
    seen.push(...groups.map((group) => group.map(({ id }) => id)));
    return { batch: packTrajectories(groups).batch, metrics: { pairs: groups.length } };
  },
});
const trajectory = (group: string, i: number, reward: number | null): ScoredTrajectory => ({ id: `${group}${i}`, group, seed: 0, tokens: Int32Array.of(1, 2, 3), trainable: Uint8Array.of(0, 1, 1), samplerLogps: null, versions: [], turns: [], finishReason: 'stop', rewards: { right: reward } });
const groupOf = (name: string, rewards: (number | null)[]) => rewards.map((reward, i) => trajectory(name, i, reward));
const context = { step: 0, learner: null as never, rewardWeights: {}, maxCompletionLength: 4, temperature: 1 };

it('pairs the best with the worst, the earlier among equals; groups without a difference are left out', async () => {
  const groups = [groupOf('a', [0.5, 1, 0, 1, 0]), groupOf('b', [1, 1, null]), groupOf('c', [null, 0.25, 0.75])];
  const { batch, metrics, advantages } = await rankedPairs(onPairs).experience(groups, context);
  expect(seen).toEqual([['a1', 'a2'], ['c2', 'c1']]);
  expect(batch.offsets).toHaveLength(1 + 6);
  expect(metrics).toEqual({ pairs: 2, 'ranked_pairs/groups_without_pair': 1, reward: (2.5 + 2 + 1) / 9 });
  expect(advantages).toEqual([[null, 1, -1, null, null], [null, null, null], [null, -1, 1]]);
});

it('trains on nothing where no group has a pair', async () => {
  const { batch, metrics } = await rankedPairs(onPairs).experience([groupOf('a', [1, 1])], context);
  expect([batch.actionIndex.length, metrics]).toEqual([0, { 'ranked_pairs/groups_without_pair': 1 }]);
});
