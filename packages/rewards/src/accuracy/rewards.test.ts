import { describe, expect, it } from 'vitest';
import { choiceReward, countdownReward, jsonReward, listReward, rewardByName, rowReward, setReward } from '../index';
import { sampleOf, scoreOf } from './test-support';

describe('choiceReward', () => {
  const choices = ['Rome', 'Paris', 'a loop', 'Berlin'];
  const of = (completion: string, answer: unknown = 'B', options: unknown = choices) => scoreOf(choiceReward(), completion, { choices: options, answer });
  it.each([
    ['B', 1], ['b', 1], ['(B)', 1], ['B.', 1], ['B)', 1], ['[B]', 1], ['**B**', 1], ['(B) Paris', 1], ['B: Paris', 1], ['Paris', 1], ['paris.', 1], ['The answer is B.', 1], ['The answer is (B) Paris.', 1], ['The answer is Paris.', 1], ['\\boxed{B}', 1], ['\\boxed{\\text{B}}', 1], ['\\boxed{Paris}', 1], ['<answer>B</answer>', 1], ['<think>A or C? A</think> B', 1], ['It must be B because it is.', 1], ['Answer: B', 1], ['A first thought, but the answer is B', 1], ['I choose (B).', 1],
    ['A', 0], ['(A) Paris', 0], ['B) Rome', 0], ['A, B, C, D', 0], ['A or B', 0], ['(A) (B)', 0], ['B or C', 0], ['The answer is A. The answer is C.', 0], ['', 0], ['Paris and Rome', 0], ['E', 0], ['Beginning', 0], ['A loop is a loop', 0], ['the answer is B or C', 0], ['<think>B</think>', 0],
  ])('%j: %d', async (completion, expected) => expect(await of(completion)).toBe(expected));
  it('reads references in all their forms', async () => {
    for (const answer of ['B', 'b', '(B)', 'B.', 'Paris', 'paris', 1]) expect(await of('B', answer)).toBe(1);
    expect(await scoreOf(choiceReward(), 'B', { choices })).toBe(null);
    expect(await scoreOf(choiceReward(), 'B', { answer: 'B' })).toBe(1); // letters alone
    for (const answer of [null, '', 'E', 'London', 4, -1, 1.5, {}, ['B']]) expect(await of('B', answer)).toBe(null);
    expect(await of('B', 'B', { label: ['A', 'B'], text: ['x', 'y'] })).toBe(1);
    expect(await of('y', 'B', { A: 'x', B: 'y' })).toBe(1);
    expect(await of('2', '2', { label: ['1', '2'], text: ['x', 'y'] })).toBe(1);
    for (const broken of ['text', 7, [], [{}], { label: ['A'], text: ['x', 'y'] }, Array.from({ length: 27 }, String)]) expect(await of('B', 'B', broken)).toBe(null);
    expect(await of('A', 'same', ['same', 'same'])).toBe(null); // which one?
    expect(await scoreOf(choiceReward({ choicesColumn: 'options', column: 'key' }), 'B', { options: choices, key: 'B' })).toBe(1);
  });
});

describe('listReward and setReward', () => {
  const list = (completion: string, answer: unknown, options = {}) => scoreOf(listReward(options), completion, { answer });
  const set = (completion: string, answer: unknown, options = {}) => scoreOf(setReward(options), completion, { answer });
  it.each([
    ['apple, pear, plum', 1], ['Apple, Pear and plum.', 1], ['apple; pear; plum', 1], ['apple\npear\nplum', 1], ['1. apple\n2. pear\n3. plum', 1], ['- apple\n- pear\n- plum', 1], ['["apple", "pear", "plum"]', 1], ['{apple, pear, plum}', 1], ['The sorted list is: apple, pear, plum', 1], ['Here are the words in order:\napple, pear, plum', 1], ['\\boxed{apple, pear, plum}', 1], ['<think>pear</think>apple, pear, plum', 1], ['apple, pear, and plum', 1],
    ['pear, apple, plum', 0], ['apple, pear', 0], ['apple, pear, plum, fig', 0], ['', 0], ['apple pear plum', 0],
  ])('%j is the list apple, pear, plum: %d', async (completion, expected) => {
    expect(await list(completion, ['apple', 'pear', 'plum'])).toBe(expected);
    expect(await list(completion, 'apple, pear, plum')).toBe(expected);
  });
  it('a set has no order and nothing twice', async () => {
    expect(await set('3, 1, 2', [1, 2, 3])).toBe(1);
    expect(await set('{1, 2, 2, 3.0}', '1, 2, 3')).toBe(1);
    expect(await set('1, 2', [1, 2, 3])).toBe(0);
    expect(await set('1, 2, 3, 4', [1, 2, 3])).toBe(0);
    for (const empty of ['{}', '∅', 'none', '[]', '']) expect(await set(empty, [])).toBe(1);
    expect(await set('1', [])).toBe(0);
    expect(await set('1,000; 2', [1000, 2])).toBe(1);
  });
  it('partial credit', async () => {
    expect(await list('apple, plum, pear', ['apple', 'pear', 'plum'], { partial: true })).toBeCloseTo(1 / 3);
    expect(await list('apple, pear', ['apple', 'pear', 'plum'], { partial: true })).toBeCloseTo(2 / 3);
    expect(await set('1, 2, 9', [1, 2, 3], { partial: true })).toBe(0.5);
    expect(await set('9', [1], { partial: true })).toBe(0);
  });
  it('a missing or unreadable reference is null', async () => {
    for (const answer of [undefined, null, '', ' ', {}, [null], [''], [{}], NaN, true]) {
      expect(await list('1', answer)).toBe(null);
      expect(await set('1', answer)).toBe(null);
    }
  });
});

describe('jsonReward', () => {
  const schema = { type: 'object', required: ['city', 'people'], additionalProperties: false, properties: { city: { type: 'string', minLength: 1 }, people: { type: 'integer', minimum: 0 } } };
  const of = (completion: string, row: Record<string, unknown> = { schema }) => scoreOf(jsonReward(), completion, row);
  it.each([
    ['{"city":"Rome","people":3}', 1], [' {"people":3,"city":"Rome"}\n', 1], ['```json\n{"city":"Rome","people":3}\n```', 1], ['Here it is:\n```\n{"city":"Rome","people":3}\n```\nDone.', 1], ['<think>{}</think>{"city":"Rome","people":3}', 1],
    ['{"city":"Rome"}', 0], ['{"city":"Rome","people":"3"}', 0], ['{"city":"","people":3}', 0], ['{"city":"Rome","people":-1}', 0], ['{"city":"Rome","people":3.5}', 0], ['{"city":"Rome","people":3,"x":1}', 0], ['[]', 0], ['', 0], ['Rome', 0], ["{'city':'Rome','people':3}", 0], ['{"city":"Rome","people":3} and more', 0],
  ])('%j: %d', async (completion, expected) => {
    expect(await of(completion)).toBe(expected);
    expect(await of(completion, { schema: JSON.stringify(schema) })).toBe(expected);
    expect(await scoreOf(jsonReward({ schema }), completion, {})).toBe(expected);
  });
  it('compares with an answer, with and without a schema', async () => {
    expect(await of('{"b":[1,2],"a":null}', { answer: { a: null, b: [1, 2] } })).toBe(1);
    expect(await of('{"b":[2,1],"a":null}', { answer: '{"a":null,"b":[1,2]}' })).toBe(0);
    expect(await of('{"city":"Rome","people":3}', { schema, answer: { city: 'Rome', people: 4 } })).toBe(0);
    expect(await of('{"__proto__":{}}', { answer: {} })).toBe(0);
  });
  it('null without a schema or answer that can be read; a wrong one of the option is refused', async () => {
    for (const row of [{}, { schema: null }, { schema: 7 }, { schema: 'no schema' }, { schema: { type: 'text' } }, { schema: { required: 'city' } }, { schema: { properties: [] } }, { schema: { items: { type: 'x' } } }, { schema: { pattern: '(' }, answer: 'x' }, { answer: 'not json' }, { schema, answer: '{' }]) expect(await of('{"a":1}', row)).toBe(null);
    expect(() => jsonReward({ schema: 'x' })).toThrow('no JSON Schema');
    expect(() => jsonReward({ schema: { type: 'nothing' } })).toThrow('no JSON Schema');
    expect(await scoreOf(jsonReward({ schema: true }), '1', {})).toBe(1);
    expect(await scoreOf(jsonReward({ schema: { $defs: { n: { type: 'number' } }, type: 'array', items: { $ref: '#/$defs/n' } } }), '[1, 2]', {})).toBe(1);
  });
});

describe('countdownReward', () => {
  const of = (completion: string, row: Record<string, unknown> = { numbers: [3, 6, 7], target: 24 }) => scoreOf(countdownReward(), completion, row);
  it.each([
    ['(7 - 3) * 6', 1], ['6 * (7 - 3) = 24', 1], ['<answer>(7-3)×6</answer>', 1], ['\\boxed{(7-3) \\times 6}', 1], ['We try.\nAnswer: (7 - 3) * 6', 1], ['<think>3+6</think>(7-3)*6', 1], ['`(7 - 3) * 6`', 1],
    ['24', 0], ['7 * 3 + 3', 0], ['(7 - 3) * 6 * 1', 0], ['7 - 3', 0], ['(7 - 3) * 6 + 0', 0], ['7 + 3 + 6', 0], ['', 0], ['(7 - 3) * 6!', 0], ['(7 - 3)(6', 0], ['(7-3)^6', 0], ['73 - 6', 0], ['(7 - 3) * 6.0', 0],
  ])('%j: %d', async (completion, expected) => expect(await of(completion)).toBe(expected));
  it('fractions on the way are exact; no numbers are null', async () => {
    expect(await of('8 / (3 - 8 / 3)', { numbers: [3, 3, 8, 8], target: 24 })).toBe(1);
    for (const row of [{}, { numbers: [], target: 1 }, { numbers: [1.5], target: 1 }, { numbers: ['1'], target: 1 }, { numbers: [1] }, { numbers: [1], target: '1' }]) expect(await of('1', row)).toBe(null);
    expect(await of('1 / (2 - 2)', { numbers: [1, 2, 2], target: 0 })).toBe(0);
  });
});

describe('rowReward', () => {
  it('each row by the reward that it names', async () => {
    const samples = [sampleOf('It is 4', { reward: 'numeric', answer: '4' }), sampleOf('b, a', { reward: 'list', answer: 'a, b' }), sampleOf('b, a', { reward: 'set', answer: 'a, b' }), sampleOf('x', {}), sampleOf('4', { reward: 'numeric', answer: 'none' }), sampleOf('5', { reward: 'numeric', answer: '4' })];
    expect(await rewardByName('task').score(samples, { step: 0 })).toEqual([1, 0, 1, null, null, 0]);
    expect(await rewardByName('task', { column: 'by' }).score([sampleOf('4', { by: 'exact', answer: '4' })], { step: 0 })).toEqual([1]);
    expect(rewardByName('task').name).toBe('task');
  });
  it('says what is no name', async () => {
    await expect(scoreOf(rewardByName('task'), '', { reward: 'nothing' })).rejects.toThrow('no reward function "nothing"');
    await expect(scoreOf(rewardByName('task'), '', { reward: 7 })).rejects.toThrow('the `reward` of a row is 7');
    await expect(scoreOf(rewardByName('task'), '', { reward: 'task' })).rejects.toThrow('is "task"');
    expect(await scoreOf(rowReward({ resolve: () => rewardByName('numeric') }), '4', { reward: 'mine', answer: 4 })).toBe(1);
  });
});
