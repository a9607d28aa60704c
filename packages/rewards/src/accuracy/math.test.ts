import { describe, expect, it } from 'vitest';
import { mathReward, rewardByName } from '../index';
import { scoreOf } from './test-support';

const of = (answer: unknown, completion: string, options = {}) => scoreOf(mathReward(options), completion, { answer });

describe('mathReward', () => {
  it.each([
    // plain text, as small models write it
    ['12', 'The answer is 12.', 1], ['12', '12', 1], ['12', '3 * 4 = 12', 1], ['12', 'First 3 * 4 = 12.\nThen nothing.', 1], ['12', 'It is 12 apples.', 1], ['12', 'twelve', 0], ['12', '', 0], [12, '12.0', 1], [1234, 'That makes 1,234.', 1], ['-5', 'The answer is -5', 1], ['5', 'The answer is -5', 0],
    ['0.5', '1/2', 1], ['1/2', 'The answer is 0.5.', 1], ['50%', 'The answer is 50%.', 1], ['1.5e-7', '0.00000015', 1], ['15000', '1.5 x 10^4', 0], ['15000', '1.5 × 10^4', 1], ['1 1/2', '3/2', 1], ['3/2', '1 1/2', 1], ['2', 'Answer: 2', 1], ['2', '**2**', 1], ['2', '<answer>2</answer>', 1], ['2', '<think>it is 3</think> 2', 1], ['2', '<think>it is 2</think> 3', 0],
    // units of the same kind
    ['5 km', '5000 m', 1], ['5 km', 'The distance is 5 kilometers.', 1], ['5 km', '5 m', 0], ['5 km', '5 kg', 0], ['5 km', '5', 1], ['5', '5 km', 1], ['90 min', '1.5 h', 1], ['90 minutes', '1 h 30 min', 1], ['2.5 kg', '2500 g', 1], ['1 l', '1000 ml', 1], ['1 l', '1 dm^3', 1], ['1 m^2', '10000 cm^2', 1], ['1 m²', '10000 cm²', 1], ['1 m^2', '100 cm^2', 0], ['36 km/h', '10 m/s', 1], ['1 mile', '1609.344 m', 1], ['3 ft', '1 yard', 1], ['2 hours', '7200 seconds', 1], ['1 week', '7 days', 1], ['100 cents', '1 dollar', 1], ['\\frac{1}{2} km', '500 m', 1], ['5\\text{ cm}^2', '5 cm²', 1], ['25 square meters', '25 m^2', 1],
    // formulas
    ['x^2 - 1', '\\boxed{(x-1)(x+1)}', 1], ['x^2 - 1', '\\boxed{(x-1)(x-1)}', 0], ['2x + 3', 'The answer is 3 + 2x', 1], ['\\frac{x}{y}', '\\boxed{x/y}', 1], ['\\sin^2 x + \\cos^2 x', '\\boxed{1}', 1], ['\\sqrt{x^2}', '\\boxed{x}', 0], ['a_1 + a_2', '\\boxed{a_2+a_1}', 1], ['a_1 + a_2', '\\boxed{a_1+a_3}', 0], ['n!', '\\boxed{n!}', 0], ['e^{2x}', '\\boxed{(e^x)^2}', 1], ['2^{100}', '\\boxed{1267650600228229401496703205376}', 1], ['2^{100}', '\\boxed{1267650600228229401496703205377}', 0], ['\\frac{1}{3}', '\\boxed{0.3333}', 0],
    // tuples, sets, intervals, relations
    ['(1, 2)', '(1, 2)', 1], ['(1, 2)', '(2, 1)', 0], ['\\{1, 2\\}', '\\boxed{2, 1}', 1], ['[0, 1)', '\\boxed{[0,1)}', 1], ['[0, 1)', '\\boxed{[0,1]}', 0], ['x < 2', '\\boxed{2 > x}', 1], ['x < 2', '\\boxed{x \\le 2}', 0], ['y = 2x + 1', '\\boxed{y - 2x = 1}', 1], ['x = 1, x = 2', '\\boxed{x = 2 \\text{ or } x = 1}', 1],
    // lists of guesses earn nothing
    ['4', '1, 2, 3, 4', 0], ['4', '\\boxed{1,2,3,4}', 0], ['4', '\\boxed{4} or \\boxed{5}', 0],
  ] as const)('%j, said %j: %d', async (answer, completion, expected) => expect(await of(answer, completion)).toBe(expected));

  it.each([undefined, null, '', '  ', 'no idea', NaN, Infinity, {}, [], true, 'yes', '\\frac{1}', '1 +', '((1)', '💥', '^^', '5 5 5', 'x'.repeat(5000)])('a reference %j is null, whatever is said', async (answer) => {
    for (const completion of ['4', '', '\\boxed{4}', 'no idea', 'yes']) expect(await of(answer, completion)).toBe(null);
    expect(await scoreOf(mathReward({ requireReasoning: true }), 'no thought', { answer })).toBe(null);
  });

  it('hostile lengths and depths are read as nothing', async () => {
    for (const hostile of ['('.repeat(3000), '\\boxed{'.repeat(2000), `${'\\frac{'.repeat(300)}1`, '9^'.repeat(400) + '9', '9^{9^{9^{9^9}}}', '10000!!!!', '1'.repeat(3000), '-'.repeat(1500) + '1', '$'.repeat(3000), 'answer $$ '.repeat(500), '{'.repeat(2000) + '}'.repeat(2000), '1e9999', '\\sqrt[1e9]{2}', '\\log_0 0', '1/0', '0^{-1}', '\\binom{1000000}{500000}']) {
      expect(await of('4', hostile)).toBe(0);
      expect(await of('4', `\\boxed{${hostile}}`)).toBe(0);
      expect([null, 0]).toContain(await of(hostile, '4'));
    }
  });

  it('options', async () => {
    expect(await of('4', '4', { latexOnly: true })).toBe(0);
    expect(await of('4', 'The answer is $4$', { latexOnly: true })).toBe(1);
    expect(await of('4', 'a ### 4', { delimiters: ['###'] })).toBe(1);
    expect(await of('4', 'no mark 4', { delimiters: ['###'], requireReasoning: true })).toBe(0);
    expect(mathReward().name).toBe('math');
    expect(rewardByName('reasoning_accuracy').name).toBe('reasoning_accuracy');
    const [cosine] = await rewardByName('cosine', { max_length: '10', correct: 'math', column: 'solution' }).score([{ prompt: 'p', completion: '\\boxed{\\frac{2}{4}}', completionTokens: new Int32Array(0), finishReason: 'stop', group: 'g', row: { solution: '0.5' } }], { step: 0 });
    expect(cosine).toBe(1);
    expect(() => mathReward({ delimiters: [''] })).toThrow('`delimiters`');
    expect(await scoreOf(rewardByName('math', { column: 'solution', latex_only: 'true', delimiters: '</a>|</b>' }), 'x</b> \\boxed{4}', { solution: '4' })).toBe(1);
  });
});
