import { defineReward, type RewardFunction } from '@espalier/spec';
import { describe, expect, it } from 'vitest';
import { BigramPolicy } from '../test/bigram-policy';
import { evaluateReward, passAtK } from './evaluate-reward';
import { scoreSamples, weightedRewards, weightedTotal } from './rewards';

const prompts = Array.from({ length: 9 }, (_, i) => ({ row: { id: i }, prompt: `p${i}`, tokens: Int32Array.of(1 + (i % 4)) }));
const sampling = { temperature: 1, maxNewTokens: 5 };
const threes = defineReward({ name: 'threes', score: async (samples) => samples.map(({ completion }) => Number(completion.includes('3'))) });
const oddRows = defineReward({ name: 'odd', score: async (samples) => samples.map(({ row }) => (Number(row.id) % 2 === 1 ? 0.5 : null)) });

describe('passAtK', () => {
  it('is one minus the chance of drawing k wrong ones', () => {
    for (const [n, c, k] of [[5, 0, 1], [5, 2, 1], [5, 2, 2], [5, 4, 2], [10, 3, 5], [200, 7, 100]]) {
      const choose = (a: number, b: number) => Array.from({ length: b }, (_, i) => (a - i) / (b - i)).reduce((x, y) => x * y, 1);
      expect(passAtK(n, c, k)).toBeCloseTo(1 - choose(n - c, k) / choose(n, k), 12);
    }
    expect(passAtK(2, 1, 3)).toBeNaN();
  });
});

describe('evaluateReward', () => {
  it('does not depend on how prompts are put together', async () => {
    const { rollouts } = new BigramPolicy(5);
    const whole = await evaluateReward({ rollouts, prompts, rewards: [threes], samples: 4, sampling, seed: 3 });
    expect(await evaluateReward({ rollouts, prompts, rewards: [threes], samples: 4, sampling, seed: 3, batchSize: 2 })).toEqual(whole);
    expect((await evaluateReward({ rollouts, prompts, rewards: [threes], samples: 4, sampling, seed: 4 })).meanLength).not.toBe(whole.meanLength);
  });

  it('counts what is right, what is cut off, what nobody could score', async () => {
    const { rollouts } = new BigramPolicy(5);
    const result = await evaluateReward({ rollouts, prompts, rewards: [{ reward: oddRows, weight: 2 }], samples: 4, sampling });
    expect(result).toMatchObject({ reward: 1, rewards: { odd: 0.5 }, accuracy: 0, rows: 9, completions: 36, unscorable: 20, passAt: { 1: 0, 4: 0 } });
    const both = await evaluateReward({ rollouts, prompts, rewards: [threes, oddRows], samples: 4, sampling });
    expect(both.passAt[4]).toBeGreaterThanOrEqual(both.passAt[1]);
    expect(both.passAt[1]).toBeCloseTo(both.accuracy, 12); // the same number of samples of every prompt
    expect(both.examples).toHaveLength(8);
  });

  it('is greedy unless told otherwise, and tells how far it is', async () => {
    const { rollouts } = new BigramPolicy(5);
    const progress: string[] = [];
    const run = () => evaluateReward({ rollouts, prompts, rewards: [threes], sampling: { maxNewTokens: 5 }, seed: progress.length, batchSize: 4, onProgress: (done, total) => progress.push(`${done}/${total}`) });
    expect(await run()).toEqual(await run());
    expect(progress.slice(0, 9)).toEqual(['1/9', '2/9', '3/9', '4/9', '5/9', '6/9', '7/9', '8/9', '9/9']);
    await expect(evaluateReward({ rollouts, prompts: [], rewards: [threes] })).rejects.toThrow(/no rows/);
  });
});

describe('reward functions', () => {
  const samples = [0, 1].map((id) => ({ prompt: 'p', completion: `c${id}`, completionTokens: new Int32Array(1), finishReason: 'stop' as const, group: 'g', row: { id } }));
  const gives = (scores: unknown): RewardFunction => defineReward({ name: 'odd one', score: async () => scores as number[] });
  const score = (reward: RewardFunction) => scoreSamples(weightedRewards([reward]), samples, { step: 2 });

  it.each([
    [[1], /"odd one" gave 1 rewards for 2 completions/],
    [[1, NaN], /"odd one" gave NaN for the completion "c1"/],
    [[Infinity, 1], /gave Infinity for the completion "c0"/],
    [[undefined, 1], /gave undefined/],
    [['1', 1], /gave 1 for the completion "c0"/],
    [{}, /gave object for 2 completions/],
  ])('what is not a reward is refused by name: %s', async (scores, message) => {
    await expect(score(gives(scores))).rejects.toThrow(message);
  });

  it('run at the same time', async () => {
    let open: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => (open = resolve));
    const waits = defineReward({ name: 'waits', score: async (list) => (await gate, list.map(() => 1)) });
    const opens = defineReward({ name: 'opens', score: async (list) => (open(), list.map(() => ({ total: 2 }))) });
    expect(await scoreSamples(weightedRewards([waits, opens]), samples, { step: 0 })).toEqual([{ waits: 1, opens: { total: 2 } }, { waits: 1, opens: { total: 2 } }]);
  });

  it('are summed with their weights over those that apply', () => {
    expect(weightedTotal({ a: 1, b: { total: 2 }, c: null }, { b: 0.5 })).toBe(2);
    expect(weightedTotal({ a: null }, {})).toBeNull();
    expect(() => weightedRewards([threes, threes])).toThrow(/two reward functions are named "threes"/);
    expect(() => weightedRewards([threes], [1, 2])).toThrow(/`reward_weights` has 2 weights for 1 reward functions/);
    expect(() => weightedRewards([])).toThrow(/no reward function/);
  });
});
