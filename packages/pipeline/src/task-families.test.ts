import { Random, taskFamilies } from '@espalier/data';
import { rewardByName } from '@espalier/rewards';
import type { RewardSample } from '@espalier/spec';
import { describe, expect, it } from 'vitest';

const sample = (completion: string, row: Record<string, unknown>): RewardSample => ({ prompt: 'p', completion, completionTokens: new Int32Array(0), finishReason: 'stop', group: 'g', row });

describe.each(taskFamilies.map((family) => ({ name: family.name, family })))('the reward of $name', ({ family }) => {
  it.each([1, 2, 3, 4, 5])('difficulty %d: 1 for the right answer, also after a thought; 0 for that of another problem, for nothing, and for a list of answers', async (difficulty) => {
    const random = new Random(difficulty, 7);
    const rows = Array.from({ length: 40 }, (_, i) => family.generate(i, { difficulty, seed: 5, split: 'train' }));
    const reward = rewardByName('task');
    const of = (said: (answer: string, i: number) => string) => reward.score(rows.map((row, i) => sample(said(row.answer, i), row)), { step: 0 });
    expect(await of((answer) => answer)).toEqual(rows.map(() => 1));
    expect(await of((answer) => `<think>It may be ${rows[0].answer}.</think>\n${answer}`)).toEqual(rows.map(() => 1));
    expect(await of(() => '')).toEqual(rows.map(() => 0));
    const other = random.int(1, rows.length - 1);
    const answers = rows.map((_, i) => rows[(i + other) % rows.length].answer);
    const wrong = await of((_, i) => answers[i]);
    wrong.forEach((score, i) => expect(score, `${JSON.stringify(rows[i])} said ${answers[i]}`).toBe(Number(answers[i] === rows[i].answer)));
    const many = [...new Set(rows.map(({ answer }) => answer))].filter((answer) => answer !== rows[0].answer).concat('nothing');
    expect(await reward.score([sample(`${rows[0].answer}, ${many.join(', ')}`, rows[0])], { step: 0 })).toEqual([0]);
  });
});
