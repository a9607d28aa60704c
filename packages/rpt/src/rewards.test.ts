import type { Message, RewardSample, TextModel } from '@espalier/spec';
import { describe, expect, it } from 'vitest';
import { informationGainReward, type GainModel } from './information-gain/gain-reward';
import { gainRows } from './information-gain/gain-rows';
import { readVerdict, segmentJudgeReward } from './next-segment/judge-reward';
import { segmentQuestions, type SegmentQuestion } from './next-segment/segment-questions';
import { segmentSentences } from './next-segment/segments';
import { segmentSimilarityReward, tokenF1 } from './next-segment/similarity-reward';
import { entropySplitRewards } from './next-token/entropy-splits';
import { predictionReward, type PredictionModel } from './next-token/prediction-reward';

const sample = (completion: string, row: Record<string, unknown>, group = 'g', completionTokens = new Int32Array()): RewardSample => ({ prompt: '', completion, completionTokens, finishReason: 'stop', group, row });

// One token a character; byte 0 begins a text where special tokens are asked for.
const tokenizer = {
  encode: (text: string, { addSpecialTokens = true } = {}) => Int32Array.from([...(addSpecialTokens ? [0] : []), ...Buffer.from(text)]),
  decode: (ids: Iterable<number>) => Buffer.from([...ids].filter((id) => id !== 0)).toString(),
};
const collect = async <T>(rows: AsyncIterable<T>): Promise<T[]> => {
  const list: T[] = [];
  for await (const row of rows) list.push(row);
  return list;
};

describe('the reward of a prediction', () => {
  const row = { continuation: ' the cat', boundaries: [4, 8], context_tokens: [7, 8], continuation_tokens: [32, 116], entropy: 1.2 };
  const asked: number[][] = [];
  const model: PredictionModel = {
    encode: (text) => tokenizer.encode(text, { addSpecialTokens: false }),
    logps: async ({ tokens, actionIndex }) => {
      asked.push([...tokens]);
      return Float32Array.from(actionIndex, () => -1);
    },
  };
  const totals = async (kind: 'prefix' | 'first-token' | 'dense' | 'dense-if-correct', samples: RewardSample[]) =>
    (await predictionReward({ kind, model: () => model }).score(samples, { step: 0 })).map((reward) => (reward === null ? null : typeof reward === 'number' ? reward : reward.total));

  it('prefix: whole tokens of the continuation; first-token: the first one, whatever follows it', async () => {
    const samples = [sample('\\boxed{ the}', row), sample('\\boxed{ th}', row), sample('\\boxed{a}', row), sample('nothing', row), sample('\\boxed{a}', {})];
    expect(await totals('prefix', samples)).toEqual([1, 0, 0, 0, null]);
    expect(await totals('first-token', samples)).toEqual([1, 1, 0, 0, null]);
  });

  it('dense: a wrong one earns the probability of its first token without a thought (here e^-1)', async () => {
    asked.length = 0;
    expect(await totals('dense', [sample('\\boxed{ the}', row), sample('\\boxed{x}', row), sample('nothing', row)])).toEqual([1, Math.exp(-1), 0]);
    expect(asked).toEqual([[7, 8, 'x'.charCodeAt(0)]]);
  });

  it('dense-if-correct: only in groups with a right one', async () => {
    const samples = [sample('\\boxed{ the}', row, 'a'), sample('\\boxed{x}', row, 'a'), sample('\\boxed{x}', row, 'b'), sample('\\boxed{y}', row, 'b')];
    expect(await totals('dense-if-correct', samples)).toEqual([1, Math.exp(-1), 0, 0]);
  });

  it('accuracy by difficulty counts the rows of a split, each of which holds those after it', async () => {
    const splits = entropySplitRewards(predictionReward());
    expect(splits.map(({ reward, weight }) => [reward.name, weight])).toEqual([['accuracy_easy', 0], ['accuracy_medium', 0], ['accuracy_hard', 0]]);
    const samples = [sample('\\boxed{ the}', row), sample('\\boxed{no}', { ...row, entropy: 2 }), sample('\\boxed{ the}', { ...row, entropy: 0.4 }), sample('\\boxed{ the}', { ...row, entropy: undefined })];
    expect(await Promise.all(splits.map(({ reward }) => reward.score(samples, { step: 0 })))).toEqual([[1, 0, null, null], [1, 0, null, null], [null, 0, null, null]]);
  });
});

describe('information gain', () => {
  it('rows hold the tokens that their prompt becomes, and what follows', async () => {
    const text = 'The quick brown fox jumps over the lazy dog.';
    const rows = await collect(gainRows([text, 'short'], tokenizer, { minContext: 8, maxContext: 12, positionsPerText: 2, gainTokens: 3, seed: 4 }));
    expect(rows).toHaveLength(2);
    for (const { prompt, context_tokens, prompt_tokens, target_tokens, position } of rows) {
      expect([...tokenizer.encode(prompt)]).toEqual(prompt_tokens);
      expect(prompt_tokens.slice(0, context_tokens.length)).toEqual(context_tokens);
      expect(tokenizer.decode([...context_tokens, ...target_tokens])).toBe(text.slice(Math.max(0, (position as number) - 12), (position as number) + 3));
      expect(prompt.endsWith('<think>')).toBe(true);
    }
    await expect(collect(gainRows([text], tokenizer, { minContext: 8, maxContext: 4 }))).rejects.toMatchObject({ code: 'bad_config' });
  });

  it('is the log-prob of what follows after the thought, minus that under the average without one', async () => {
    const batches: Record<'policy' | 'baseline', { sequences: string[]; actions: string }[]> = { policy: [], baseline: [] };
    const look = (kind: 'policy' | 'baseline', value: number): GainModel['policy'] => async ({ tokens, offsets, prefixOf, actionIndex }) => {
      const own = (s: number) => tokenizer.decode(tokens.subarray(offsets[s], offsets[s + 1]));
      const sequences = Array.from({ length: offsets.length - 1 }, (_, s) => (prefixOf![s] >= 0 ? `${own(prefixOf![s])}|${own(s)}` : own(s)));
      batches[kind].push({ sequences, actions: tokenizer.decode(Int32Array.from(actionIndex, (t) => tokens[t])) });
      return Float32Array.from(actionIndex, (_, a) => value - a / 8);
    };
    const model: GainModel = { policy: look('policy', -1), baseline: look('baseline', -3), decode: (tokens) => tokenizer.decode(tokens), encode: (text) => tokenizer.encode(text, { addSpecialTokens: false }), eosTokenIds: [10] };
    const row = { prompt: 'ab<think>', context_tokens: [...Buffer.from('ab')], prompt_tokens: [...Buffer.from('ab<think>')], target_tokens: [...Buffer.from('c')] };
    const thought = (text: string) => Int32Array.from(Buffer.from(text));
    const reward = informationGainReward({ model: () => model });
    const logged: Record<string, number> = {};
    const found = await reward.score([sample('x', row, 'g', thought('x</think>')), sample('y', row, 'g', thought('y\n')), sample('', {})], { step: 0, log: (name, value) => void (logged[name] = value) });
    expect(found).toEqual([
      { total: 2, components: { with_thought: -1, without_thought: -3 } },
      { total: 1.875, components: { with_thought: -1.125, without_thought: -3 } },
      null,
    ]);
    // the prompt once, a thought that did not end is ended, an end of sequence is no part of it; the plain context once a group
    expect(batches.policy).toEqual([{ sequences: ['ab<think>', 'ab<think>|x</think>c', 'ab<think>|y</think>c'], actions: 'cc' }]);
    expect(batches.baseline).toEqual([{ sequences: ['abc'], actions: 'c' }]);
    expect(logged).toEqual({ 'information_gain/with_thought': -1.0625, 'information_gain/without_thought': -3, 'information_gain/positive': 1 });
  });
});

const story = 'The dog ran away. It was cold outside. The boy looked for it. He found it at the lake. They went home.';

describe('next segments', () => {
  it('sentences, asked for in two ways, as many of the second kind as lambda says', async () => {
    expect(segmentSentences(story)).toHaveLength(5);
    const questions = await collect(segmentQuestions(Array.from({ length: 200 }, () => story), tokenizer, { minContext: 10, middleLambda: 0.5, format: 'text', segmentsAhead: 2 }));
    const [asr, msr] = (['asr', 'msr'] as const).map((kind) => questions.filter((question) => question.kind === kind));
    expect(asr).toHaveLength(200);
    expect(Math.abs(msr.length / 200 - 0.5)).toBeLessThan(0.12);
    const place = ({ context, segments }: SegmentQuestion) => story.indexOf(`${context} ${segments.join(' ')}`);
    for (const question of questions) expect(place(question)).toBeGreaterThanOrEqual(0);
    expect(new Set(asr.map(({ segments }) => segments.length))).toEqual(new Set([1, 2]));
    for (const { prompt, segments, context } of msr) expect(prompt).toContain(`${context}\n[missing]\n${segmentSentences(story)[segmentSentences(story).indexOf(segments[0]) + 1]}`);
    expect((await collect(segmentQuestions([story], tokenizer, { minContext: 10, middleLambda: 0 }))).map(({ kind }) => kind)).toEqual(['asr']);
  });

  it('similarity: words that are shared, the best of one segment and more; embeddings in their place', async () => {
    expect(tokenF1('The dog ran.', 'the dog slept')).toBeCloseTo(2 / 3, 12);
    expect(tokenF1('dog dog', 'the dog')).toBeCloseTo(0.5, 12);
    expect(tokenF1('', 'dog')).toBe(0);
    const row = { segments: ['The boy looked for it.', 'He found it.'] };
    const samples = [sample('hm</think>the boy looked for it', row), sample('The boy looked for it. He found it', row), sample('</think>', row), sample('x', {})];
    expect(await segmentSimilarityReward().score(samples, { step: 0 })).toEqual([1, 1, 0, null]);
    const embed = async (texts: readonly string[]) => texts.map((text) => (text.includes('boy') ? [1, 0] : [1, 1]));
    const [same, , , none] = await segmentSimilarityReward({ embed }).score([sample('a boy', row), sample('nobody', row), sample('</think>', row), sample('x', {})], { step: 0 });
    expect([same, none]).toEqual([1, null]);
    expect(() => segmentSimilarityReward({ embed, similarity: tokenF1 })).toThrow(/both/);
  });

  it('a judge says 0 or 1; what cannot be read excludes the sample', async () => {
    const seen: string[] = [];
    const answers: Record<string, string> = { yes: 'Same. Verdict: 1', no: 'Verdict: 0', odd: 'I cannot say', torn: '0 or 1' };
    const judge: TextModel = {
      complete: async (prompts) => prompts.map((prompt) => {
        const content = (prompt as readonly Message[])[0].content;
        seen.push(content);
        return answers[Object.keys(answers).find((key) => content.includes(`Prediction:\n${key}`))!];
      }),
    };
    const row = { segments: ['He found it.', 'They went home.'], context: 'The boy looked.' };
    const logged: Record<string, number> = {};
    const scores = await segmentJudgeReward({ judge }).score([...Object.keys(answers), ''].map((text) => sample(`<think>a</think>${text}`, row)).concat(sample('yes', {})), { step: 0, log: (name, value) => void (logged[name] = value) });
    expect(scores).toEqual([1, 0, null, null, 0, null]);
    expect(seen).toHaveLength(4);
    expect(seen[0]).toContain('He found it. They went home.');
    expect(logged).toEqual({ 'segment_judge/unreadable': 2 });
    expect([readVerdict('1'), readVerdict('Verdict: 0. Not 1'), readVerdict('10'), readVerdict('VERDICT - 1')]).toEqual([1, 0, null, 1]);
  });
});
