import { describe, expect, it } from 'vitest';
import { numericReward } from '../answer-rewards';
import { randomNumbers, sampleOf, scoreAll, totals } from '../test-support';
import { arithmeticSteps } from './arithmetic-steps';
import { depthReward, stepsReward } from './step-rewards';
import { reasoningSteps, splitThought, thoughtReward } from './thought';

describe('arithmeticSteps', () => {
  const read = (text: string) => arithmeticSteps(text).map((step) => `${step.text} ${step.right}`);
  it.each([
    ['12 + 7 = 19', ['12+7=19 true']],
    ['12 + 7 = 20.', ['12+7=20 false']],
    ['First 3 × 4 = 12, then 12 - 5 = 7.', ['3×4=12 true', '12-5=7 true']],
    ['3 * 4 + 2 = 12 + 2 = 14', ['3*4+2=12+2 true', '12+2=14 true']],
    ['2 + 3 * 4 = 20', ['2+3*4=20 false']],
    ['(2 + 3) * 4 = 20', ['(2+3)*4=20 true']],
    ['1) 3 + 4 = 7\n2) 7 x 2 = 14', ['3+4=7 true', '7x2=14 true']],
    ['10 / 3 = 3.33', ['10/3=3.33 true']],
    ['10 / 3 = 3.34', ['10/3=3.34 false']],
    ['10 / 4 = 2', ['10/4=2 false']],
    ['0.1 + 0.2 = 0.3', ['0.1+0.2=0.3 true']],
    ['1,200 + 34 = 1,234', ['1,200+34=1,234 true']],
    ['3 - 5 = -2', ['3-5=-2 true']],
    ['3 − 5 = −2', ['3−5=−2 true']],
    ['50 / 200 = 25%', ['50/200=25% true']],
    ['$3 + $4 = $7', ['3+4=7 true']],
    ['5 = 2 + 3', ['5=2+3 true']],
    ['1 / 0 = 5', []],
    ['x = 5, and 2x = 10, y - 3 * 2 = 5', []],
    ['5 = 5', []],
    ['no numbers = here', []],
    [`${'9'.repeat(50)} + 1 = 1${'0'.repeat(50)}`, [`${'9'.repeat(50)}+1=1${'0'.repeat(50)} true`]],
    [`${'9'.repeat(61)} + 1 = 2`, []],
  ])('%s', (text, expected) => expect(read(text)).toEqual(expected));

  it('agrees with BigInt on random sums, differences and products, right and wrong', () => {
    const random = randomNumbers(5);
    for (let n = 0; n < 500; n++) {
      const [a, b] = [BigInt(Math.floor(random() * 1e9)), BigInt(Math.floor(random() * 1e9))];
      const operator = '+-*'[Math.floor(random() * 3)];
      const value = operator === '+' ? a + b : operator === '-' ? a - b : a * b;
      const off = random() < 0.5 ? 0n : BigInt(1 + Math.floor(random() * 9));
      expect(arithmeticSteps(`so ${a} ${operator} ${b} = ${value + off}, and`)).toEqual([{ text: `${a}${operator}${b}=${value + off}`, right: off === 0n }]);
    }
  });

  it('takes no time over what is made to take some', () => {
    const hostile = ['('.repeat(5000), '1+'.repeat(5000) + '=', '='.repeat(5000), `${'-'.repeat(3000)}1=1`, '1 '.repeat(5000) + '= 1', ('(1+1)*'.repeat(9) + '1=').repeat(300)];
    const began = performance.now();
    for (const text of hostile) arithmeticSteps(text);
    expect(performance.now() - began).toBeLessThan(20_000); // it took minutes if it were quadratic in the text
  });
});

describe('splitThought', () => {
  it.each([
    ['<think>a b</think> c', { thought: 'a b', answer: 'c' }],
    ['\n<think>\na\n</think>\n\nc\n', { thought: 'a', answer: 'c' }],
    ['c', { thought: null, answer: 'c' }],
    ['<think>a', { thought: null, answer: '<think>a' }],
    ['<think>a</think>b<think>c</think>', { thought: null, answer: '<think>a</think>b<think>c</think>' }],
    ['b <think>a</think>', { thought: null, answer: 'b <think>a</think>' }],
  ])('%j', (text, expected) => expect(splitThought(text)).toEqual(expected));
});

describe('thoughtReward', () => {
  it('wants a thought and an answer', async () => {
    const of = (completion: string, minWords?: number) => totals(thoughtReward(minWords === undefined ? {} : { minWords }), [sampleOf(completion)]);
    expect(await of('<think>so it is</think> 5')).toEqual([1]);
    for (const completion of ['<think></think> 5', '<think> \n</think> 5', '<think>so</think>', '<think>so</think> …', 'so: 5', '<think>so 5']) expect(await of(completion)).toEqual([0]);
    expect(await of('<think>so it is</think> 5', 4)).toEqual([0]);
  });
});

describe('stepsReward', () => {
  it('is the share of the steps that hold', async () => {
    expect(await scoreAll(stepsReward(), [sampleOf('<think>2+2=4. 4+4=9. 9*1=9</think> 1+1=3')])).toEqual([{ total: 2 / 3, components: { steps: 3, right: 2 }, note: '4+4=9 does not hold' }]);
    expect(await totals(stepsReward(), [sampleOf('nothing reckoned'), sampleOf('')])).toEqual([0, 0]);
  });
  it('repeating a safe step earns nothing', async () => {
    const reward = stepsReward({ minSteps: 4 });
    expect(await totals(reward, [sampleOf('1+1=2 '.repeat(9)), sampleOf('1+1=2, 2+1=3, 3+1=4, 4+1=5')])).toEqual([0.25, 1]);
  });
  it('counts with a right answer alone, where it is told what is right', async () => {
    const reward = stepsReward({ correct: numericReward() });
    expect(await totals(reward, [sampleOf('2+2=4', { answer: 4 }), sampleOf('2+3=5', { answer: 4 }), sampleOf('2+2=4', {})])).toEqual([1, 0, null]);
    expect(() => stepsReward({ minSteps: 0 })).toThrow('`minSteps` is 0');
  });
});

describe('depthReward', () => {
  const text = 'We add two and three. That gives five. Then we double it.\nThe answer is 10';
  it('counts different steps, and a right answer alone', async () => {
    expect(reasoningSteps(text)).toHaveLength(4);
    expect(reasoningSteps('We add them all. '.repeat(20))).toHaveLength(1);
    const reward = depthReward({ target: 8, correct: numericReward() });
    expect(await totals(reward, [sampleOf(text, { answer: 10 }), sampleOf(text, { answer: 11 }), sampleOf(text, {}), sampleOf('10', { answer: 10 })])).toEqual([0.5, 0, null, 0]);
    expect(await totals(depthReward({ target: 2, correct: numericReward() }), [sampleOf(text, { answer: 10 })])).toEqual([1]);
  });
});
