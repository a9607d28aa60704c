import { datasetOf } from '@espalier/data';
import { describe, expect, it } from 'vitest';
import { corpusQuestions, type CorpusQuestion } from './corpus-questions';
import { lmLoss, lmObjective } from './lm-loss';
import { topEntropy, type EntropyProxy } from './next-token/top-entropy';
import { lastBoxed, prefixMatchReward } from './prefix-match';

const score = async (completion: string, row: Record<string, unknown>, prediction?: 'boxed' | 'text') =>
  (await prefixMatchReward({ prediction }).score([{ prompt: '', completion, completionTokens: new Int32Array(), finishReason: 'stop', group: 'g', row }], { step: 0 }))[0];

describe('prefixMatchReward', () => {
  // " the café" as the tokens " the", " caf", "é" (two bytes)
  const row = { continuation: ' the café', boundaries: [4, 8, 10] };

  it('pays for one or more whole tokens of the continuation', async () => {
    expect(await score('<think>an article</think>\\boxed{ the}', row)).toBe(1);
    expect(await score('\\boxed{ the café}', row)).toBe(1);
    expect(await score('\\boxed{wrong} no: \\boxed{ the caf}', row)).toBe(1); // the last box counts
  });

  it('pays nothing for half a token, other text, more than there is, or no box', async () => {
    for (const completion of ['\\boxed{ th}', '\\boxed{the}', '\\boxed{ a}', '\\boxed{ the café.}', '\\boxed{}', ' the', '\\boxed{ the', '\\boxed{ the}</think>']) expect(await score(completion, row), completion).toBe(0);
  });

  it('takes whole completions where asked, and does not apply without a continuation', async () => {
    expect(await score(' the', row, 'text')).toBe(1);
    expect(await score('\\boxed{ the}', { answer: '4' })).toBeNull();
  });

  it('reads braces inside the box', () => {
    expect(lastBoxed('so \\boxed{\\frac{1}{2}}')).toBe('\\frac{1}{2}');
    expect(lastBoxed('\\boxed{a} and \\boxed{b')).toBe('a');
    expect(lastBoxed('none')).toBeNull();
  });
});

// Two characters a token; decodes to what it encoded.
const table: string[] = [];
const tokenizer = {
  encode: (text: string) => Int32Array.from(text.match(/.{1,2}/gsu) ?? [], (piece) => (table.includes(piece) ? table.indexOf(piece) : table.push(piece) - 1)),
  decode: (ids: ArrayLike<number>) => Array.from(ids, (id) => table[id]).join(''),
  applyChatTemplate: () => '',
  eosTokenId: 999,
};

describe('corpusQuestions', () => {
  const text = 'abcdefghijklmnopqrstuvwxyz';
  const collect = async (options: Parameters<typeof corpusQuestions>[2]) => {
    const list: CorpusQuestion[] = [];
    for await (const question of corpusQuestions([text, 'short'], tokenizer, options)) list.push(question);
    return list;
  };

  it('asks what follows a context, with the boundaries of the tokens that do', async () => {
    const questions = await collect({ minContext: 3, maxContext: 4, horizon: 2, positionsPerText: 3, format: 'text', template: 'Q: {context}' });
    expect(questions).toHaveLength(3);
    for (const { prompt, context, continuation, boundaries } of questions) {
      expect(prompt).toBe(`Q: ${context}`);
      expect(text).toContain(context + continuation);
      expect(context.length).toBeGreaterThanOrEqual(6);
      expect(boundaries).toEqual(continuation.length === 4 ? [2, 4] : [2]);
    }
    expect(await collect({ minContext: 3, maxContext: 4, horizon: 2, positionsPerText: 3, format: 'text', template: 'Q: {context}' })).toEqual(questions); // same seed, same questions
  });

  /** After 'kl' two tokens are likely, else one: an entropy of ln 2, or of almost nothing. */
  const proxy: EntropyProxy = {
    async *generate(requests) {
      for (const { id, prompt, topLogps: k = 0 } of requests) {
        const logps = table[prompt.at(-1)!] === 'kl' ? [Math.log(0.5), Math.log(0.5)] : [Math.log(0.999), Math.log(0.001)];
        yield { requestId: id, index: 0, tokens: Int32Array.of(0), logps: Float32Array.of(0), text: '', finishReason: 'length', version: 0, topLogps: { tokens: new Int32Array(k), logps: Float32Array.from({ length: k }, (_, i) => logps[i] ?? -Infinity) } };
      }
    },
  };

  it('asks only where the next token is hard, by the entropy of the likeliest tokens', async () => {
    const questions = await collect({ minContext: 2, horizon: 1, positionsPerText: 5, minEntropy: 0.5, proxy });
    expect(questions.map(({ continuation }) => continuation)).toEqual(['mn']);
    expect(questions[0].entropy).toBeCloseTo(Math.LN2, 6);
    expect(await collect({ minContext: 2, horizon: 1, positionsPerText: 5, proxy })).toHaveLength(6);
    await expect(collect({ minEntropy: 1 })).rejects.toThrow(/needs a `proxy`/);
  });

  it('takes the entropy over the tokens that it is given, made to sum to 1', () => {
    expect(topEntropy([Math.log(0.2), Math.log(0.2)])).toBeCloseTo(Math.LN2, 12);
    expect(topEntropy(Array.from({ length: 16 }, () => -5))).toBeCloseTo(Math.log(16), 12);
    const p = [0.7, 0.2, 0.1];
    expect(topEntropy(p.map((x) => Math.log(x / 3)))).toBeCloseTo(-p.reduce((sum, x) => sum + x * Math.log(x), 0), 12);
  });
});

describe('lmLoss', () => {
  it('which rows a step trains on follows from the step alone, and every epoch has all', () => {
    const rows = Array.from({ length: 6 }, (_, i) => ({ text: String.fromCharCode(97 + i).repeat(4) }));
    const make = () => lmLoss({ coefficient: 0.5, dataset: datasetOf(rows), batchSize: 3, seed: 4 }, tokenizer);
    const [first, again] = [make(), make()];
    const firstTokens = [0, 1, 2, 3].map((step) => [...first.batch(step).tokens]);
    expect([3, 1, 2, 0].map((step) => [...again.batch(step).tokens])).toEqual([3, 1, 2, 0].map((step) => firstTokens[step]));
    expect(new Set([...firstTokens[0], ...firstTokens[1]]).size).toBe(7); // six letters and the end of sequence
    expect(first.batch(0)).toMatchObject({ normalizer: { tokens: 6, sequences: 3 }, actionIndex: Int32Array.of(1, 2, 4, 5, 7, 8) });
  });

  it('is the mean negative log-likelihood times its weight', () => {
    const batch = { tokens: Int32Array.of(1, 2, 3), offsets: Int32Array.of(0, 3), actionIndex: Int32Array.of(1, 2), columns: {}, normalizer: { tokens: 2, sequences: 1 } };
    const { loss, grads, metrics } = lmObjective(0.5).evaluate({ logps: Float32Array.of(-1, -3) }, batch);
    expect(loss).toBe(1);
    expect([...grads.logps!]).toEqual([-0.25, -0.25]);
    expect(metrics.nll).toEqual({ sum: 4, weight: 2 });
  });
});
