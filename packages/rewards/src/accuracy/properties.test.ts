import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { choiceReward, countdownReward, jsonReward, listReward, mathReward, rewardByName, setReward } from '../index';
import { sampleOf, scoreOf } from './test-support';

const check = <Drawn>(property: fc.IAsyncProperty<Drawn>) => fc.assert(property, { numRuns: 80, seed: 8 });

const whole = fc.integer({ min: -9999, max: 9999 });
const denominator = fc.integer({ min: 1, max: 999 });
/** The same fraction in several ways. */
const ways: readonly ((n: number, d: number) => string)[] = [
  (n, d) => `${n}/${d}`, (n, d) => `${3 * n}/${3 * d}`, (n, d) => `\\frac{${n}}{${d}}`, (n, d) => `-\\dfrac{${-n}}{${d}}`, (n, d) => `${n} \\div ${d}`, (n, d) => `\\frac{${n * n * n}}{${d}} \\cdot ${n * n === 0 ? 1 : `\\frac{1}{${n * n}}`}`,
  (n, d) => `${n + d}/${d} - 1`, (n, d) => `${100 * n}/${d}\\%`.replace(/^(.*)\\%$/, '($1)\\%'), (n, d) => (n < 0 ? `-${Math.floor(-n / d)} - ${-n % d}/${d}` : `${Math.floor(n / d)} + ${n % d}/${d}`), (n, d) => `(${n}e3)/(${d} \\times 10^3)`,
];

describe('mathReward', () => {
  it('a fraction equals itself in every way of writing it, and no other', () =>
    check(
      fc.asyncProperty(whole, denominator, fc.integer({ min: 0, max: ways.length - 1 }), fc.integer({ min: 0, max: ways.length - 1 }), fc.integer({ min: 1, max: 50 }), async (n, d, i, j, off) => {
        expect(await scoreOf(mathReward(), `\\boxed{${ways[j](n, d)}}`, { answer: ways[i](n, d) })).toBe(1);
        expect(await scoreOf(mathReward(), `\\boxed{${n + off}/${d}}`, { answer: ways[i](n, d) })).toBe(0);
      }),
    ));
  it('decimals equal fractions to six decimals', () =>
    check(
      fc.asyncProperty(whole, fc.integer({ min: 1, max: 6 }), async (n, places) => {
        const text = (n / 10 ** places).toFixed(places);
        expect(await scoreOf(mathReward(), text, { answer: `\\frac{${n}}{${10 ** places}}` })).toBe(1);
        expect(await scoreOf(mathReward(), `${text}0`, { answer: text })).toBe(1);
        expect(await scoreOf(mathReward(), (n / 10 ** places + 0.00001).toFixed(7), { answer: `\\frac{${n}}{${10 ** places}}` })).toBe(0);
      }),
    ));
  it('thousands are grouped or not', () =>
    check(fc.asyncProperty(fc.integer({ min: 0, max: 1e12 }), async (n) => {
      expect(await scoreOf(mathReward(), `It is ${n.toLocaleString('en')}.`, { answer: String(n) })).toBe(1);
    })));
  it('a product of linear factors equals its expansion, and not one with another coefficient', () =>
    check(
      fc.asyncProperty(fc.array(fc.integer({ min: -9, max: 9 }), { minLength: 1, maxLength: 5 }), fc.integer({ min: 0, max: 5 }), fc.integer({ min: 1, max: 3 }), async (roots, at, off) => {
        // coefficients of Π(x − r), lowest first
        const coefficients = roots.reduce((p, r) => [...p, 0].map((_, k) => (p[k - 1] ?? 0) - r * (p[k] ?? 0)), [1]);
        const write = (list: readonly number[]) => list.map((c, k) => `(${c})x^{${k}}`).join(' + ');
        const factors = roots.map((r) => (r < 0 ? `(x+${-r})` : `(x-${r})`)).join('');
        expect(await scoreOf(mathReward(), `\\boxed{${write(coefficients)}}`, { answer: factors })).toBe(1);
        const other = coefficients.map((c, k) => (k === at % coefficients.length ? c + off : c));
        expect(await scoreOf(mathReward(), `\\boxed{${write(other)}}`, { answer: factors })).toBe(0);
      }),
    ));
  it('integer arithmetic agrees with JavaScript', () => {
    const { expr } = fc.letrec<{ expr: string }>((tie) => ({
      expr: fc.oneof({ depthSize: 'small' }, fc.integer({ min: 0, max: 20 }).map(String), fc.tuple(tie('expr'), fc.constantFrom('+', '-', '*'), tie('expr')).map(([a, sign, b]) => `(${a} ${sign} ${b})`), tie('expr').map((a) => `(-${a})`)),
    }));
    return check(
      fc.asyncProperty(expr, async (text) => {
        const value = BigInt(new Function(`return BigInt(0) + ${text.replace(/\d+/g, (n) => `${n}n`)}`)() as bigint);
        expect(await scoreOf(mathReward(), `\\boxed{${text}}`, { answer: String(value) })).toBe(1);
        expect(await scoreOf(mathReward(), `\\boxed{${text}}`, { answer: String(value + 1n) })).toBe(0);
      }),
    );
  });
  it('amounts survive a change of unit', () =>
    check(
      fc.asyncProperty(fc.integer({ min: 1, max: 99_999 }), fc.constantFrom(['km', 'm', 1000], ['m', 'cm', 100], ['kg', 'g', 1000], ['g', 'mg', 1000], ['h', 'min', 60], ['min', 's', 60], ['days', 'hours', 24], ['l', 'ml', 1000], ['m^2', 'cm^2', 10_000], ['m^3', 'l', 1000]), async (n, [large, small, factor]) => {
        expect(await scoreOf(mathReward(), `${n * factor} ${small}`, { answer: `${n} ${large}` })).toBe(1);
        expect(await scoreOf(mathReward(), `\\boxed{${n}\\text{ ${large}}}`, { answer: `${n * factor} ${small}` })).toBe(1);
        expect(await scoreOf(mathReward(), `${n} ${small}`, { answer: `${n} ${large}` })).toBe(0);
        expect(await scoreOf(mathReward(), `${n * factor + 1} ${small}`, { answer: `${n} ${large}` })).toBe(0);
      }),
    ));
  it('sets in any order, tuples in theirs', () =>
    check(
      fc.asyncProperty(fc.uniqueArray(fc.integer({ min: -50, max: 50 }), { minLength: 2, maxLength: 7 }), fc.nat(), async (items, seed) => {
        const moved = [...items.slice((seed % (items.length - 1)) + 1), ...items.slice(0, (seed % (items.length - 1)) + 1)];
        expect(await scoreOf(mathReward(), `\\boxed{\\{${moved.join(', ')}\\}}`, { answer: `$\\{${items.join(', ')}\\}$` })).toBe(1);
        expect(await scoreOf(mathReward(), `\\boxed{(${moved.join(', ')})}`, { answer: `$(${items.join(', ')})$` })).toBe(0);
        expect(await scoreOf(mathReward(), `\\boxed{(${items.join(', ')})}`, { answer: `$(${items.join(', ')})$` })).toBe(1);
      }),
    ));
});

describe('every accuracy reward', () => {
  const names = ['numeric', 'exact', 'math', 'reasoning_accuracy', 'choice', 'list', 'set', 'json', 'countdown', 'task'];
  const text = fc.oneof(fc.string(), fc.string({ unit: 'binary' }), fc.array(fc.constantFrom('\\boxed{', '}', '{', '$', '\\frac', '1', '2', ',', 'answer is', '\n', ' ', '</think>', '(', ')', 'A', 'B', '/', '%', 'km', '^', '=', '"', '[', ']', ';', '\\text{', '-', '.', 'e', '!')).map((parts: string[]) => parts.join('')));
  it('gives 0, 1 or null for whatever is said and whatever the row holds, and the same again', () =>
    check(
      fc.asyncProperty(fc.constantFrom(...names), text, fc.oneof(text, fc.jsonValue()), fc.jsonValue(), async (name, completion, answer, more) => {
        const row = { answer, choices: more, schema: more, numbers: more, target: answer, reward: 'math' };
        const made = rewardByName(name);
        const score = await scoreOf(made, completion, row);
        expect([0, 1, null]).toContain(score);
        expect(await made.score([sampleOf('x', {}), sampleOf(completion, row)].slice(1), { step: 1 })).toEqual([score]);
      }),
    ));
  it('without a reference: null, never 0', () =>
    check(
      fc.asyncProperty(fc.constantFrom(...names), text, fc.constantFrom({}, { answer: null }, { answer: undefined, choices: null }), async (name, completion, row) => {
        expect(await scoreOf(rewardByName(name), completion, row)).toBe(null);
      }),
    ));
});

describe('the others', () => {
  const word = fc.stringMatching(/^[a-z]{2,8}$/);
  it('choices: the right letter or text earns 1, another one 0', () =>
    check(
      fc.asyncProperty(fc.uniqueArray(word, { minLength: 2, maxLength: 8 }), fc.nat(), fc.nat(), async (choices, i, j) => {
        const [right, other] = [i % choices.length, j % choices.length];
        const letter = 'ABCDEFGH'[right];
        for (const answer of [letter, choices[right], right]) for (const said of ['ABCDEFGH'[other], `(${'ABCDEFGH'[other]}) ${choices[other]}`, `The answer is ${'ABCDEFGH'[other]}.`, `\\boxed{${choices[other]}}`]) expect(await scoreOf(choiceReward(), said, { choices, answer })).toBe(Number(right === other));
      }),
    ));
  it('lists: right in their order, sets in any', () =>
    check(
      fc.asyncProperty(fc.uniqueArray(word.filter((one) => !['and', 'is', 'are', 'answer', 'list', 'set', 'order', 'result', 'words', 'numbers', 'none', 'empty', 'nothing'].includes(one)), { minLength: 2, maxLength: 8 }), fc.constantFrom(', ', '\n', '; '), async (items, between) => {
        const turned = [...items].reverse();
        expect(await scoreOf(listReward(), items.join(between), { answer: items })).toBe(1);
        expect(await scoreOf(listReward(), turned.join(between), { answer: items })).toBe(0);
        expect(await scoreOf(setReward(), turned.join(between), { answer: items })).toBe(1);
        expect(await scoreOf(setReward(), turned.slice(1).join(between), { answer: items })).toBe(0);
        const part = (await scoreOf(setReward({ partial: true }), turned.slice(1).join(between), { answer: items })) as number;
        expect(part).toBeCloseTo((items.length - 1) / items.length, 12);
      }),
    ));
  it('JSON: a value equals itself, whatever the order of its keys', () => {
    const turn = (value: unknown): unknown => (Array.isArray(value) ? value.map(turn) : typeof value === 'object' && value !== null ? Object.fromEntries(Object.entries(value).reverse().map(([key, inner]) => [key, turn(inner)])) : value);
    return check(
      fc.asyncProperty(fc.dictionary(fc.stringMatching(/^[a-z]{1,5}$/), fc.jsonValue({ maxDepth: 3 })), async (value: Record<string, unknown>) => {
        const answer = JSON.parse(JSON.stringify(value)) as unknown;
        expect(await scoreOf(jsonReward(), JSON.stringify(turn(value)), { answer })).toBe(1);
        expect(await scoreOf(jsonReward(), JSON.stringify({ ...value, 'not there': 1 }), { answer })).toBe(0);
      }),
    );
  });
  it('countdown: any expression of the numbers that makes the target', () =>
    check(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 2, maxLength: 5 }), fc.array(fc.constantFrom('+', '-', '*'), { minLength: 4, maxLength: 4 }), async (numbers, signs) => {
        const text = numbers.slice(1).reduce((made, n, i) => `(${made} ${signs[i]} ${n})`, String(numbers[0]));
        const target = new Function(`return ${text}`)() as number;
        expect(await scoreOf(countdownReward(), text, { numbers: [...numbers].reverse(), target })).toBe(1);
        expect(await scoreOf(countdownReward(), text, { numbers, target: target + 1 })).toBe(0);
        expect(await scoreOf(countdownReward(), `${text} + 0`, { numbers, target })).toBe(0);
        expect(await scoreOf(countdownReward(), String(target), { numbers, target })).toBe(0);
      }),
    ));
});
