import { checkRow } from '@espalier/data';
import { describe, expect, it } from 'vitest';
import { defineConstitution } from './constitution';
import { labelMetrics, labelPreferences, preferenceRows, samplePairs } from './label-preferences';
import { preferenceJudge, readLetter } from './preference-judge';
import { fivePrinciples as constitution, scripted } from './test-support';

const comparison = { prompt: 'Q', first: 'good', second: 'bad', seed: 1 };
/** Prefers `good` by `margin` nats, and (A) by `bias`. */
const judgeModel = (margin: number, bias = 0) => scripted({ answer: () => 'because', logps: (prompt) => (prompt.lastIndexOf('(A) good') > prompt.lastIndexOf('(A) bad') ? [margin + bias, 0] : [bias, margin]) });
const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

describe('preferenceJudge', () => {
  it('puts the question in both orders and averages, which takes out what the letter adds', async () => {
    const label = await preferenceJudge(judgeModel(1, 3), { constitution }).compare(comparison);
    expect(label!.probability).toBeCloseTo((sigmoid(4) + 1 - sigmoid(2)) / 2, 12);
    const indifferent = await preferenceJudge(judgeModel(0, 3), { constitution }).compare(comparison);
    expect(indifferent!.probability).toBeCloseTo(0.5, 12);
    const once = await preferenceJudge(judgeModel(0, 3), { constitution, orders: 'random' }).compare(comparison);
    expect(Math.abs(once!.probability - 0.5)).toBeCloseTo(sigmoid(3) - 0.5, 12);
  });

  it('keeps principle, order and raw log-probs of every reading', async () => {
    const label = await preferenceJudge(judgeModel(1), { constitution }).compare(comparison);
    const { readings, unclamped, clamp } = label!.details;
    expect(readings.map(({ order, logps }) => ({ order, logps }))).toEqual([
      { order: 'first_second', logps: [1, 0] },
      { order: 'second_first', logps: [0, 1] },
    ]);
    expect(new Set(readings.map(({ principle }) => principle)).size).toBe(1);
    expect(constitution.principles.map(({ id }) => id)).toContain(readings[0].principle);
    expect({ unclamped, clamp }).toEqual({ unclamped: label!.probability, clamp: null });
  });

  it('draws another principle for another pair, the same for the same; an ensemble has different ones, averaged by weight', async () => {
    const judge = preferenceJudge(judgeModel(1), { constitution });
    const labels = await judge.compareAll(Array.from({ length: 20 }, (_, seed) => ({ ...comparison, seed })));
    const drawn = labels.map((label) => label!.details.readings[0].principle);
    expect(new Set(drawn).size).toBeGreaterThan(2);
    expect((await judge.compare({ ...comparison, seed: 7 }))!.details.readings[0].principle).toBe(drawn[7]);

    const two = defineConstitution({ name: 'two', licence: 'CC0-1.0', source: 'a test', principles: [{ id: 'a', preferenceQuestion: 'By a?', weight: 3 }, { id: 'b', preferenceQuestion: 'By b?' }] });
    const model = scripted({ logps: (prompt) => ((prompt.includes('By a?') ? 1 : -1) * (prompt.lastIndexOf('(A) good') > 0 ? 1 : -1) > 0 ? [2, 0] : [0, 2]) });
    const label = await preferenceJudge(model, { constitution: two, principlesPerLabel: 2 }).compare(comparison);
    expect(label!.details.readings).toHaveLength(4);
    expect(label!.probability).toBeCloseTo((3 * sigmoid(2) + sigmoid(-2)) / 4, 12);
    expect(() => preferenceJudge(model, { constitution: two, principlesPerLabel: 3 })).toThrow(/principles_per_label/);
  });

  it('reasons first when asked to, and clamps then', async () => {
    const model = judgeModel(5);
    const label = await preferenceJudge(model, { constitution, chainOfThought: true }).compare(comparison);
    expect(label!.probability).toBe(0.6);
    expect(label!.details.unclamped).toBeGreaterThan(0.97);
    expect(label!.details.readings[0].reasoning).toBe('because');
    expect(model.prompts[0]).toMatch(/Let's think step by step\.$/);
    expect((await preferenceJudge(model, { constitution, chainOfThought: true, clamp: null }).compare(comparison))!.probability).toBeGreaterThan(0.97);
  });

  it('asks for options as they continue the prompt, in chat and in plain text', async () => {
    const chat = judgeModel(1);
    await preferenceJudge(chat, { constitution }).compare(comparison);
    expect(chat.asked[0].options).toEqual(['(A', '(B']);
    const plain = judgeModel(1);
    await preferenceJudge(plain, { constitution, format: 'plain' }).compare({ ...comparison, question: 'Which is better?' });
    expect(plain.asked[0]).toEqual({ prompt: expect.stringMatching(/Human: Q\n\nWhich is better\?\n\nOptions:\n\(A\) good\n\(B\) bad\n\n.*\n\nAssistant: \($/) as string, options: ['A', 'B'] });
  });

  it('is null, and no draw, where an answer cannot be read', async () => {
    for (const bad of [[NaN, -1], [-Infinity, -Infinity]]) expect(await preferenceJudge(scripted({ logps: () => bad }), { constitution }).compare(comparison)).toBeNull();
    expect(await preferenceJudge(scripted({ logps: () => [-20, -21] }), { constitution, minOptionMass: 0.01 }).compare(comparison)).toBeNull();
    expect(await preferenceJudge(scripted({ answer: () => '', logps: () => [-1, -2] }), { constitution, chainOfThought: true }).compare(comparison)).toBeNull();
    expect(await preferenceJudge(scripted({ answer: () => 'Both are fine.' }), { constitution }).compare(comparison)).toBeNull();
    const byText = await preferenceJudge(scripted({ answer: (prompt) => (prompt.lastIndexOf('(A) good') > 0 ? 'The answer is (A).' : 'B') }), { constitution }).compare(comparison);
    expect(byText!.probability).toBe(1);
  });

  it.each([['(A)', 'A'], ['The answer is (B).', 'B'], ['B', 'B'], ['B.', 'B'], ['Option A', 'A'], ['A good question.', null], ['(A) or (B)', null], ['neither', null], ['', null]])('reads %j as %j', (answer, letter) => {
    expect(readLetter(answer)).toBe(letter);
  });
});

describe('labels for pairs', () => {
  it('measures position bias, agreement, and counts what was left out', async () => {
    const model = scripted({ logps: (prompt) => (prompt.includes('mute') ? [NaN, NaN] : prompt.lastIndexOf('(A) good') > 0 ? [3, 0] : [1, 0]) });
    const pairs = [
      { prompt: 'Q', first: 'good', second: 'bad', preferred: 'first' as const },
      { prompt: 'Q', first: 'bad', second: 'good', preferred: 'first' as const },
      { prompt: 'mute', first: 'good', second: 'bad' },
    ];
    const labelled = await labelPreferences(preferenceJudge(model, { constitution }), pairs, {});
    expect(labelled.map(({ excluded }) => excluded ?? null)).toEqual([null, null, 'the judge could not be read']);
    const metrics = labelMetrics(labelled);
    expect(metrics).toMatchObject({ pairs: 3, excluded: 1, agreement: 0.5, order_disagreement: 1 });
    expect(metrics.position_bias).toBeCloseTo((sigmoid(3) + sigmoid(1)) / 2 - 0.5, 12);

    const rows = preferenceRows(labelled, 'judge-1', { provenance: { constitution: 'five' } });
    expect(rows).toHaveLength(2);
    for (const row of rows) {
      expect(checkRow(row, ['preference']).type).toBe('preference');
      expect(row.chosen).toBe('good');
      expect(row.soft_label).toBeCloseTo((sigmoid(3) + 1 - sigmoid(1)) / 2, 12);
    }
    expect(preferenceRows(labelled, 'judge-1', { labels: 'hard' }).map((row) => [row.chosen, 'soft_label' in row])).toEqual([['good', false], ['good', false]]);
    const distance = rows[0].soft_label! - 0.5;
    expect([distance - 1e-9, distance + 1e-9].map((margin) => preferenceRows(labelled, 'judge-1', { margin }).length)).toEqual([2, 0]);
    expect(rows[1].provenance).toMatchObject({ method: 'ai-preference', judge: 'judge-1', constitution: 'five', row: 1, chosenWas: 'second', clamp: null });
    expect((rows[1].provenance.readings as { order: string }[]).map(({ order }) => order)).toEqual(['first_second', 'second_first']);
  });

  it('samples pairs, draws again where the two are alike, and leaves out those that stay so', async () => {
    let draws = 0;
    const model = scripted({ answer: (prompt, seed) => (prompt === 'same' ? 'x' : (draws++, draws <= 2 ? 'y' : `y ${seed}`)) });
    const pairs = await samplePairs(model, ['same', 'other'], { pairsPerPrompt: 2, seed: 9 });
    expect(pairs.map(({ row, excluded }) => [row, excluded ?? null])).toEqual([[0, 'both answers are the same'], [0, 'both answers are the same'], [1, null], [1, null]]);
    expect(pairs[3].first).not.toBe(pairs[2].first);
    await expect(samplePairs(model, ['a'], { temperature: 0 })).rejects.toMatchObject({ code: 'bad_config' });
  });

  it('refuses a judge whose probability is none', async () => {
    const judge = { specVersion: 'v1' as const, name: 'odd', compare: async () => ({ probability: 1.5 }) };
    await expect(labelPreferences(judge, [comparison])).rejects.toMatchObject({ code: 'bad_data' });
  });
});
