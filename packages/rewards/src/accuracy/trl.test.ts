import { readFileSync } from 'node:fs';
import type { RewardFunction, RewardSample } from '@espalier/spec';
import { describe, expect, it } from 'vitest';
import { cosineReward, formatReward, lengthReward, mathReward, repetitionReward } from '../index';

/** What TRL's own functions said: tools/fixtures/make-accuracy-fixtures.py. */
interface Golden {
  accuracy: { solution: string; completion: string; reward: number | null }[];
  reasoning: { solution: string; completion: string; delimiters: string[] | null; reward: number | null }[];
  format: { completion: string; reward: number }[];
  overlong: { max_length: number; cache: number; tokens: number; reward: number }[];
  repetition: { ngram_size: number; max_penalty: number; ids: number[]; reward: number }[];
  cosine: { options: Record<string, number>; solution: string; completion: string; tokens: number; reward: number | null }[];
}
const golden = JSON.parse(readFileSync(new URL('../../fixtures/trl-rewards.json', import.meta.url), 'utf8')) as Golden;

const sample = (completion: string, row: object = {}, tokens: number | number[] = 0): RewardSample => ({
  prompt: 'p', completion, completionTokens: Int32Array.from(typeof tokens === 'number' ? new Array<number>(tokens).fill(1) : tokens), finishReason: 'stop', group: 'g', row: row as Record<string, unknown>,
});
const one = async (reward: RewardFunction, scored: RewardSample) => (await reward.score([scored], { step: 0 }))[0];

/** Where we say otherwise, and why. Anything else has to agree. */
const unreadable = 'TRL cannot read this reference and skips the row';
const deviations: Readonly<Record<string, { ours: number; why: string }>> = Object.fromEntries(
  (
    [
      ['\\frac12', '.5', 1, unreadable], ['\\sqrt{2}', '\\sqrt{2}', 1, unreadable], ['\\sqrt{2}', '\\sqrt2', 1, unreadable], ['\\sqrt{8}', '2\\sqrt{2}', 1, unreadable], ['\\sqrt{8}', '2\\sqrt{3}', 0, unreadable], ['\\sqrt{9}', '3', 1, unreadable],
      ['\\frac{\\sqrt{2}}{2}', '\\frac{1}{\\sqrt{2}}', 1, unreadable], ['\\sqrt[3]{27}', '3', 1, unreadable], ['\\sqrt[3]{2}', '2^{1/3}', 1, unreadable], ['\\sqrt{2}', '1.414214', 1, unreadable], ['\\sqrt{2}', '1.41', 0, unreadable],
      ['\\pi', '\\pi', 1, unreadable], ['\\pi', '3.141593', 1, unreadable], ['\\pi', '3.14', 0, unreadable], ['\\frac{\\pi}{2}', '\\pi/2', 1, unreadable], ['e^2', 'e^{2}', 1, unreadable], ['\\sin(\\pi/6)', '\\frac12', 1, unreadable],
      ['x+1', '1+x', 1, unreadable], ['x+1', 'x+2', 0, unreadable], ['x', 'x', 1, unreadable], ['\\text{A}', 'A', 1, unreadable],
      ['2\\pi', '\\pi \\cdot 2', 1, 'TRL reads a part of a reference without $ alone'], ['\\ln 2', '\\ln(2)', 1, 'as above'], ['\\log_2 8', '3', 1, 'as above'], ['\\cos 60^\\circ', '\\cos 60', 1, 'as above'],
      ['12', '12.', 1, 'a full stop'], ['\\frac{1}{3}', '\\tfrac13', 1, 'LaTeX that TRL cannot read'], ['$\\frac{1}{3}$', '\\tfrac13', 1, 'as above'], ['$\\sqrt{2}$', '\\sqrt2', 1, 'as above'], ['$\\sin(\\pi/6)$', '\\frac12', 1, 'as above'],
      ['$x>3$', '2x>6', 1, 'the same inequality'], ['5 km', '5 m', 0, 'TRL leaves units off'], ['5 km', '5000 m', 1, 'as above'], ['90 min', '1.5 h', 1, 'as above'],
      ['1e3', '1000', 1, 'scientific notation: TRL reads e as a number'], ['1000', '1e3', 1, 'as above'],
    ] as const
  ).map(([solution, box, ours, why]) => [`${solution} | So the answer is \\boxed{${box}}.`, { ours, why }]),
);
const more: typeof deviations = { '1,2 | \\boxed{1} and \\boxed{2}': { ours: 1, why: 'TRL reads this reference as 1.2' } };
const known = { ...deviations, ...more };

describe("TRL's accuracy_reward", () => {
  const reward = mathReward({ column: 'solution', latexOnly: true });
  it.each(golden.accuracy)('$solution: $completion', async (row) => {
    const deviation = known[`${row.solution} | ${row.completion}`];
    expect(await one(reward, sample(row.completion, row))).toBe(deviation ? deviation.ours : row.reward);
    if (deviation) expect(row.reward, 'a deviation that is none any more').not.toBe(deviation.ours);
  });
  it('few of the cases deviate, and every deviation is a case', () => {
    const cases = golden.accuracy.map((row) => `${row.solution} | ${row.completion}`);
    expect(Object.keys(known).filter((key) => !cases.includes(key))).toEqual([]);
    expect(Object.values(known).filter(({ why }) => why !== unreadable).length / golden.accuracy.length).toBeLessThan(0.1);
  });
});

describe("TRL's other functions", () => {
  it.each(golden.reasoning)('reasoning_accuracy_reward: $solution: $completion $delimiters', async (row) => {
    expect(await one(mathReward({ column: 'solution', latexOnly: true, requireReasoning: true, ...(row.delimiters ? { delimiters: row.delimiters } : {}) }), sample(row.completion, row))).toBe(row.reward);
  });
  it.each(golden.format)('think_format_reward: $completion', async ({ completion, reward }) => expect(await one(formatReward(), sample(completion))).toBe(reward));
  it.each(golden.overlong)('get_soft_overlong_punishment($max_length, $cache): $tokens', async ({ max_length, cache, tokens, reward }) => {
    expect(await one(lengthReward({ maxLength: max_length, cache }), sample('', {}, tokens))).toBe(reward + 0);
  });
  it.each(golden.repetition)('get_repetition_penalty_reward($ngram_size, $max_penalty): $ids', async ({ ngram_size, max_penalty, ids, reward }) => {
    expect(await one(repetitionReward({ ngramSize: ngram_size, maxPenalty: max_penalty }), sample('', {}, ids))).toBeCloseTo(reward, 12);
  });
  it.each(golden.cosine)('get_cosine_scaled_reward($options): $solution, $completion, $tokens tokens', async ({ options, solution, completion, tokens, reward }) => {
    const { max_len, min_value_wrong, max_value_wrong, min_value_correct, max_value_correct } = options;
    const given = Object.fromEntries(Object.entries({ minValueWrong: min_value_wrong, maxValueWrong: max_value_wrong, minValueCorrect: min_value_correct, maxValueCorrect: max_value_correct }).filter(([, value]) => value !== undefined));
    const ours = await one(cosineReward({ maxLength: max_len, ...given, correct: mathReward({ column: 'solution', latexOnly: true }) }), sample(completion, { solution }, tokens));
    if (reward === null) expect(ours).toBe(null);
    else expect(ours).toBeCloseTo(reward, 12);
  });
});
