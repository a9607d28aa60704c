import { defineReward, type RewardFunction, type RewardSample } from '@espalier/spec';
import { describe, expect, it } from 'vitest';
import { answerNumber, composeRewards, cosineReward, exactReward, formatReward, lastNumber, lengthReward, normalizeText, numericReward, repetitionReward, rewardByName, rewardNames } from './index';

const sample = (completion: string, row: Record<string, unknown> = {}, tokens: number | number[] = 0): RewardSample => ({
  prompt: 'p', completion, completionTokens: Int32Array.from(typeof tokens === 'number' ? new Array<number>(tokens).fill(1) : tokens), finishReason: 'stop', group: 'g', row,
});
const scoreOne = async (reward: RewardFunction, one: RewardSample) => (await reward.score([one], { step: 0 }))[0];

describe('numbers', () => {
  it.each([
    ['The answer is 12.', '12'], ['12', '12'], ['3 + 4 = 7', '7'], ['It is 1,234', '1234'], ['1,234,567.50 dollars', '1234567.5'], ['-5', '-5'], ['= -5', '-5'], ['=-5', '-5'], ['−5', '-5'], ['3-4', '4'], ['x = 3 - 4', '4'],
    ['007', '7'], ['65.0', '65'], ['0.50', '0.5'], ['-0', '0'], ['1, 2, 3', '3'], ['1,2345', '2345'], ['(12)', '12'], ['**12**', '12'], ['12 apples', '12'], ['\\boxed{42}', '42'], ['$-7$', '-7'], ['50%', '50'], ['no number', null], ['', null],
    ['99999999999999999999', '99999999999999999999'],
  ])('last number of %j is %s', (text, expected) => expect(lastNumber(text)).toBe(expected));
  it.each([[12, '12'], ['12', '12'], [' 1,234 ', '1234'], ['-3.50', '-3.5'], ['+4', '4'], ['$5', '5'], ['.5', '0.5'], [1e21, '1000000000000000000000'], [1.5e-7, '0.00000015'], ['twelve', null], ['', null], ['1 2', null], [null, null], [undefined, null], [NaN, null], [true, null], ['-', null]])(
    'answer %j reads as %s',
    (answer, expected) => expect(answerNumber(answer)).toBe(expected),
  );
});

describe('numericReward', () => {
  it('1, 0 or null', async () => {
    const reward = numericReward();
    expect(reward.name).toBe('numeric');
    const samples = [sample('It is 65.', { answer: '65' }), sample('It is 66.', { answer: '65' }), sample('nothing', { answer: 65 }), sample('65', { answer: 'many' }), sample('65', {}), sample('1,234.0', { answer: 1234 })];
    expect(await reward.score(samples, { step: 0 })).toEqual([1, 0, 0, null, null, 1]);
  });
  it('reads another column', async () => expect(await scoreOne(numericReward({ column: 'solution' }), sample('7', { solution: '7' }))).toBe(1));
});

describe('exactReward', () => {
  it('compares normalised text', async () => {
    const of = (completion: string, answer: unknown, options = {}) => scoreOne(exactReward(options), sample(completion, { answer }));
    expect(await of('  Paris.\n', 'paris')).toBe(1);
    expect(await of('Lyon', 'Paris')).toBe(0);
    expect(await of('<think>Lyon? no</think> Paris', 'Paris')).toBe(1);
    expect(await of('Paris', ['Lyon', 'Paris'])).toBe(1);
    expect(await of('5', 5)).toBe(1);
    expect(await of('paris', 'Paris', { normalize: false })).toBe(0);
    expect(await of('a  b', 'a b', { normalize: false })).toBe(1);
    expect(await of('Paris', undefined)).toBe(null);
    expect(normalizeText('“E\u0301cole”!')).toBe('école');
  });
});

describe('formatReward', () => {
  it('default: TRL\'s think format', async () => {
    const of = (text: string) => scoreOne(formatReward(), sample(text));
    expect(await of('<think>\nThis is my reasoning.\n</think>\nThis is my answer.')).toBe(1);
    expect(await of('<think>\nThis is my reasoning.\nThis is my answer.')).toBe(0);
    expect(await of('Well. <think>a</think> b')).toBe(0);
    expect(await of('<think>a<think>b</think> c')).toBe(0);
    expect(await of('<think></think>')).toBe(1);
  });
  it('takes patterns, without a memory of the last match', async () => {
    const reward = formatReward({ pattern: /\d+/g });
    expect(await reward.score([sample('1'), sample('2'), sample('x')], { step: 0 })).toEqual([1, 1, 0]);
    expect(await scoreOne(formatReward({ pattern: '^a.b$' }), sample('a\nb'))).toBe(1);
    expect(() => formatReward({ pattern: '(' })).toThrow('no regular expression');
  });
});

describe('TRL\'s numbers', () => {
  it.each([[50, 0], [80, 0], [90, -0.5], [100, -1], [110, -1]])('soft overlong punishment (100, cache 20): %d tokens, %d', async (tokens, expected) => {
    expect(await scoreOne(lengthReward({ maxLength: 100, cache: 20 }), sample('', {}, tokens))).toBe(expected);
  });
  it.each([[[5, 5, 5, 5, 5], -0.75], [[1, 2, 1, 2, 1, 2], -0.6], [[1], 0], [[1, 2], 0], [[], 0], [[1, 2, 3, 4], 0]])('repetition (2-grams) of %j: %d', async (tokens, expected) => {
    expect(await scoreOne(repetitionReward({ ngramSize: 2 }), sample('', {}, tokens))).toBeCloseTo(expected, 12);
  });
  it.each([[25, 0.92678], [50, 0.75], [75, 0.57322], [200, 0.5]])('cosine (100): right at %d tokens %d', async (tokens, expected) => {
    const reward = cosineReward({ maxLength: 100 });
    expect(await scoreOne(reward, sample('4', { answer: 4 }, tokens))).toBeCloseTo(expected, 5);
    expect(await scoreOne(reward, sample('5', { answer: 4 }, tokens))).toBeCloseTo(-expected, 5);
    expect(await scoreOne(reward, sample('5', { answer: 'x' }, tokens))).toBe(null);
  });
  it('wrong options are refused', () => {
    expect(() => repetitionReward({ maxPenalty: 1 })).toThrow('reward repetition');
    expect(() => repetitionReward({ ngramSize: 0 })).toThrow('ngramSize');
    expect(() => lengthReward({ maxLength: 10, cache: 20 })).toThrow('over `maxLength`');
    expect(() => cosineReward({ maxLength: 0 })).toThrow('`maxLength` is 0');
  });
});

describe('composeRewards', () => {
  const fixed = (name: string, values: (number | null)[]) => defineReward({ name, score: async () => values });
  it('sums with weights and keeps components', async () => {
    const reward = composeRewards([{ reward: fixed('a', [1, null, null]), weight: 0.7 }, { reward: fixed('b', [0, 1, null]), weight: 0.3 }]);
    expect(reward.name).toBe('a+b');
    expect(await reward.score([sample(''), sample(''), sample('')], { step: 0 })).toEqual([{ total: 0.7, components: { a: 1, b: 0 } }, { total: 0.3, components: { b: 1 } }, null]);
  });
  it('adds per-token parts and notes', async () => {
    const dense = (name: string) => defineReward({ name, score: async () => [{ total: 3, perToken: Float32Array.of(1, 2), note: 'ok' }] });
    const [result] = await composeRewards([dense('a'), { reward: dense('b'), weight: 0.5 }]).score([sample('', {}, 2)], { step: 0 });
    expect(result).toEqual({ total: 4.5, components: { a: 3, b: 3 }, perToken: Float32Array.of(1.5, 3), note: 'a: ok; b: ok' });
  });
  it('takes the state of its parts along', () => {
    const counting = () => {
      let count = 3;
      return { ...fixed('counting', []), state: () => count, restore: (state: unknown) => void (count = state as number) };
    };
    const reward = composeRewards([counting(), fixed('plain', [])]);
    expect(reward.state!()).toEqual({ counting: 3 });
    reward.restore!({ counting: 8 });
    expect(reward.state!()).toEqual({ counting: 8 });
    expect(composeRewards([fixed('plain', [])]).state).toBeUndefined();
  });
  it('refuses what cannot be told apart or counted', async () => {
    expect(() => composeRewards([])).toThrow('no reward function');
    expect(() => composeRewards([numericReward(), numericReward()])).toThrow('two reward functions are named "numeric"');
    expect(() => composeRewards([{ reward: numericReward(), weight: NaN }])).toThrow('the weight of "numeric" is NaN');
    await expect(composeRewards([fixed('a', [1])]).score([sample(''), sample('')], { step: 0 })).rejects.toThrow('"a" gave 1 rewards for 2 samples');
  });
});

describe('rewardByName', () => {
  it('makes every one of them', () => {
    const needed: Record<string, object> = { length: { maxLength: 10 }, cosine: { maxLength: 10 }, words: { forbid: 'a|b' }, remote: { url: 'http://127.0.0.1:1/score' } };
    for (const name of rewardNames) expect(rewardByName(name, { ...needed[name] }).name).toBe(name);
  });
  it('reads options from text and snake_case', async () => {
    expect(await scoreOne(rewardByName('length', { max_length: '100', cache: '20' }), sample('', {}, 90))).toBe(-0.5);
    expect(await scoreOne(rewardByName('depth', { target: '1', correct: 'exact', column: 'solution' }), sample('it is so', { solution: 'it is so' }))).toEqual({ total: 1, components: { steps: 1 } });
    expect(await scoreOne(rewardByName('words', { require: '5|6' }), sample('5'))).toBe(0.5);
    expect(await scoreOne(rewardByName('exact', { normalize: 'false' }), sample('A', { answer: 'a' }))).toBe(0);
  });
  it('says what would do', () => {
    expect(() => rewardByName('numerical')).toThrow('one of numeric, accuracy');
    expect(() => rewardByName('toString')).toThrow('there is no reward function "toString"');
    expect(() => rewardByName('numeric', { colum: 'a' })).toThrow('has no option `colum`');
    expect(() => rewardByName('length')).toThrow('`maxLength` is undefined');
  });
});
