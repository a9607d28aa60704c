import { datasetOf } from '@espalier/data';
import { numericReward } from '@espalier/rewards';
import { defineReward, type Completion, type GenerateRequest, type RolloutEngine } from '@espalier/spec';
import { passAtK } from '@espalier/trainer';
import { describe, expect, it } from 'vitest';
import { evaluateRollouts } from './evaluate-policy';
import { rowsInterval, wilsonInterval } from './intervals';
import { rewardOfRows } from './task-reward';

/** An engine that answers by a script: row `r` (its prompt's one token) and completion `i` give `script[r][i]`; they finish in the opposite order. */
function scripted(script: readonly (readonly string[])[]): RolloutEngine {
  return {
    specVersion: 'v1',
    name: 'scripted',
    capabilities: { tokenIds: true, logps: false, sync: 'none' },
    async *generate(requests: readonly GenerateRequest[]): AsyncIterable<Completion> {
      for (const { id, prompt, n = 1 } of [...requests].reverse())
        for (let index = n - 1; index >= 0; index--) {
          const text = script[prompt[0]][index];
          yield { requestId: id, index, tokens: new Int32Array(text.length || 1), logps: null, text, finishReason: 'stop', version: 0 } as unknown as Completion;
        }
    },
    close: async () => undefined,
  };
}

const answers = ['1', '2', '3', '4'];
const prompts = answers.map((answer, r) => ({ row: { answer }, prompt: answer, tokens: Int32Array.of(r) }));
const script = [['1', '1', '1', '1'], ['2', 'no', '5', '2'], ['no', 'no', 'no', '3'], ['', 'a', 'b', 'c']]; // 4, 2, 1, 0 right

describe('evaluateRollouts', () => {
  it('gives pass@k by the unbiased estimator over rows, with an interval of each', async () => {
    const result = await evaluateRollouts({ rollouts: scripted(script), prompts, rewards: [{ reward: numericReward(), weight: 1 }], samples: 4 });
    const right = [4, 2, 1, 0];
    expect(result.accuracy).toBe(7 / 16);
    for (const k of [1, 2, 4]) {
      const expected = right.map((c) => passAtK(4, c, k));
      expect(result.passAt[k]).toBeCloseTo(expected.reduce((a, b) => a + b) / 4, 12);
      expect(result.passIntervals[k]).toEqual(rowsInterval(expected, 4 / k));
    }
    expect(result.passAt[2]).toBeCloseTo((1 + 5 / 6 + 1 / 2 + 0) / 4, 12); // 1 - C(4 - c, 2) / 6
    expect(result.accuracyInterval).toEqual(rowsInterval(right.map((c) => c / 4), 4));
  });

  it("is Wilson's interval with one completion a row, and null where nothing could be judged", async () => {
    const one = await evaluateRollouts({ rollouts: scripted(script), prompts, rewards: [{ reward: numericReward(), weight: 1 }] });
    const expected = wilsonInterval(2, 4);
    one.accuracyInterval!.forEach((end, i) => expect(end).toBeCloseTo(expected[i], 12));
    const silent = defineReward({ name: 'silent', score: async (samples) => samples.map(() => null) });
    const none = await evaluateRollouts({ rollouts: scripted(script), prompts, rewards: [{ reward: silent, weight: 1 }] });
    expect(none).toMatchObject({ accuracyInterval: null, unscorable: 4 });
  });

  it('refuses several samples at temperature 0', async () => {
    await expect(evaluateRollouts({ rollouts: scripted(script), prompts, rewards: [], samples: 2, sampling: { temperature: 0 } })).rejects.toThrow('are 2 times the same');
  });
});

describe('rewardOfRows', () => {
  const context = { step: 0 } as never;
  const sample = (row: Record<string, unknown>, completion: string) => ({ prompt: 'p', completion, completionTokens: new Int32Array(1), finishReason: 'stop' as const, group: 'g', row });

  it('scores each completion by the function that its row names', async () => {
    const rows = [{ prompt: 'a', answer: '7', reward: 'numeric' }, { prompt: 'b', answer: 'cab', reward: 'exact' }, { prompt: 'c', answer: '7' }];
    const reward = (await rewardOfRows(datasetOf(rows, 'rows')))!;
    expect(reward.name).toBe('task');
    expect(await reward.score([sample(rows[0], 'it is 7'), sample(rows[1], 'it is cab'), sample(rows[1], 'cab'), sample(rows[2], '7')], context)).toEqual([1, 0, 1, null]);
  });

  it('is the one function where rows name one, and null where they name none', async () => {
    expect((await rewardOfRows(datasetOf([{ prompt: 'a', answer: '7', reward: 'numeric' }], 'rows')))!.name).toBe('numeric');
    expect(await rewardOfRows(datasetOf([{ prompt: 'a', answer: '7' }], 'rows'))).toBeNull();
    await expect(rewardOfRows(datasetOf([{ prompt: 'a', reward: 'numerc' }], 'rows'))).rejects.toThrow('did you mean numeric?');
  });
});
