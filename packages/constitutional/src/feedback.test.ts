import { describe, expect, it } from 'vitest';
import { calibration, evaluateAnswers } from './evaluate';
import { isEvasive } from './evasiveness';
import { feedbackReward, readScore } from './feedback-reward';
import { readPoints, selfReward, selfRewardingLoop, selfRewardMetrics, selfRewardRows } from './self-rewarding';
import { defaultConstitution } from './default-constitution';
import { defineConstitution } from './constitution';
import { scripted } from './test-support';

const sample = (completion: string) => ({ prompt: 'Q', completion, completionTokens: Int32Array.of(1), finishReason: 'stop' as const, group: 'g', row: {} });
const context = { step: 0 };

describe('feedbackReward', () => {
  it('is the expected score from 1 to 10, on −1 … 1', async () => {
    const probabilities = [0, 0, 0, 0, 0, 0, 0, 0.25, 0.5, 0.25];
    const model = scripted({ logps: (prompt) => (prompt.includes('Answer: good') ? probabilities.map(Math.log) : new Array<number>(10).fill(-3)) });
    const rewards = await feedbackReward(model, { criterion: 'Be good.' }).score([sample('good'), sample('middling')], context);
    expect(rewards[0]).toBeCloseTo((2 * 8) / 9 - 1, 12);
    expect(rewards[1]).toBeCloseTo(0, 12);
    expect(model.asked[0].options.at(0)).toBe('(1)'); // the closing parenthesis tells it from (10)
    expect(model.asked[0].options.at(-1)).toBe('(10)');
  });

  it('averages principles by weight and gives each its own component', async () => {
    const two = defineConstitution({ name: 'two', licence: 'CC0-1.0', source: 'a test', principles: [{ id: 'a', preferenceQuestion: 'By a?', weight: 3 }, { id: 'b', preferenceQuestion: 'By b?' }] });
    const model = scripted({ answer: (prompt) => (prompt.includes('By a?') ? '(10)' : '(1)') });
    expect(await feedbackReward(model, { constitution: two }).score([sample('x')], context)).toEqual([{ total: 0.5, components: { a: 1, b: -1 } }]);
  });

  it('is null and counted where it cannot be read, never 0', async () => {
    const model = scripted({ answer: (prompt) => (prompt.includes('Answer: odd') ? 'hard to say' : '7') });
    const logged: Record<string, number> = {};
    const rewards = await feedbackReward(model, { criterion: 'Be good.' }).score([sample('odd'), sample('fine')], { step: 0, log: (name, value) => void (logged[name] = value) });
    expect(rewards).toEqual([null, (2 * 6) / 9 - 1]);
    expect(logged).toEqual({ 'ai_feedback/unreadable': 0.5 });
    expect(() => feedbackReward(model, {})).toThrow(/criterion/);
    expect(() => feedbackReward(model, { criterion: 'x', low: 3, high: 2 })).toThrow(/scores from 3 to 2/);
  });

  it.each([['(7)', 7], ['7', 7], ['I say 8/10.', 8], ['9 out of 10', 9], ['(11)', null], ['3 or 4', null], ['good', null], ['7.5', null]])('reads %j as %j', (answer, score) => {
    expect(readScore(answer, 1, 10)).toBe(score);
  });
});

describe('selfReward', () => {
  const policy = scripted({ answer: (prompt, seed) => (prompt === 'mute' ? '' : `${prompt} ${seed}`) });
  const judge = (points: (answer: string) => string) => scripted({ answer: (prompt) => points(/Answer: (.*)/.exec(prompt)![1]) });

  it('pairs the best of four with the worst, by the mean of several judgements', async () => {
    const score = (answer: string) => Number(answer.at(-1)) % 6;
    const judged = await selfReward(policy, judge((answer) => `Fine. Score: ${score(answer)}`), ['p', 'q'], { candidates: 4, judgements: 3, seed: 1 });
    expect(judged[0].candidates).toHaveLength(4);
    expect(judged[0].candidates[0].judgements).toHaveLength(3);
    for (const row of selfRewardRows(judged)) {
      const own = judged[row.provenance.row].candidates.map(({ answer }) => score(answer));
      expect([score(row.chosen as string), score(row.rejected as string)]).toEqual([Math.max(...own), Math.min(...own)]);
      expect(row.provenance.chosenScore).toBe(Math.max(...own));
    }
  });

  it('excludes what cannot be judged, and prompts whose answers are all alike', async () => {
    const unreadable = await selfReward(policy, judge(() => 'no idea'), ['p', 'mute'], { seed: 1 });
    expect(unreadable.map(({ excluded }) => excluded)).toEqual(new Array(2).fill('fewer than two answers could be judged'));
    expect(selfRewardMetrics(unreadable)).toMatchObject({ excluded: 2, unreadable: 1, score: NaN });
    const alike = await selfReward(policy, judge(() => 'Score: 3'), ['p'], {});
    expect(alike[0].excluded).toBe('all answers have the same score');
    expect(selfRewardRows(alike)).toEqual([]);
    expect(readPoints('Score: 9', 5)).toBeNull();
    expect(readPoints('Score: 1 … **Score:** 4', 5)).toBe(4);
  });

  it('goes on from round to round, each with the model before it, and from where it stopped', async () => {
    const order: string[] = [];
    const loop = (finished: readonly string[]) =>
      selfRewardingLoop({
        iterations: 3,
        initial: 'M1',
        finished,
        makeRows: async (model, iteration) => (order.push(`rows ${iteration} by ${model}`), { rows: [{}], metrics: {} }),
        train: async (model, _rows, iteration) => (order.push(`train on ${model}`), `M${iteration + 1}`),
      });
    expect(await loop(['M2'])).toEqual(['M2', 'M3', 'M4']);
    expect(order).toEqual(['rows 2 by M2', 'train on M2', 'rows 3 by M3', 'train on M3']);
    await expect(selfRewardingLoop({ iterations: 1, initial: 'M', makeRows: async () => ({ rows: [], metrics: {} }), train: async (m) => m })).rejects.toMatchObject({ code: 'bad_data' });
  });
});

describe('metrics', () => {
  it('takes harmlessness, helpfulness and evasiveness apart', async () => {
    // harmless answers win by harmless principles, and lose by helpful ones
    const harmless = defaultConstitution.principles.filter(({ tags }) => tags.includes('harmless')).map(({ preferenceQuestion }) => preferenceQuestion!);
    const model = scripted({ logps: (prompt) => { const last = prompt.slice(prompt.lastIndexOf('Consider the following')); const first = last.includes('(A) I cannot') ? 1 : -1; const sign = harmless.some((question) => last.includes(question)) ? 1 : -1; return [first * sign * 50, 0]; } });
    const metrics = await evaluateAnswers(model, [{ prompt: 'Q', answer: 'I cannot help with that.', baseline: 'Do it like this.' }], { constitution: defaultConstitution });
    expect(metrics).toEqual({ 'harmlessness/win_rate': 1, 'harmlessness/excluded': 0, 'helpfulness/win_rate': expect.closeTo(0, 12) as number, 'helpfulness/excluded': 0, evasiveness: 1, baseline_evasiveness: 0 });
  });

  it.each([
    ["I'm sorry, but I can't help with that.", true],
    ['As an AI language model, I have no opinion.', true],
    ['I’m sorry, I cannot answer that.', true],
    ['', true],
    ['Paris.', false],
    [`I won't help you hurt anybody. ${'If you are angry with your neighbour, the town offers mediation, free of charge. '.repeat(3)}`, false],
    ['Mix it, then let it rest. I cannot stress enough that the bowl must be dry.', false],
  ])('says whether %j evades', (answer, evades) => {
    expect(isEvasive(answer)).toBe(evades);
  });

  it('measures calibration', () => {
    const sure = Array.from({ length: 10 }, (_, i) => ({ probability: 0.95, outcome: (i < 5 ? 1 : 0) as 0 | 1 }));
    expect(calibration(sure).calibration_error).toBeCloseTo(0.45, 12);
    expect(calibration([{ probability: 0.75, outcome: 1 }]).cross_entropy).toBeCloseTo(-Math.log(0.75), 12);
    expect(calibration([]).calibration_error).toBeNaN();
  });
});
