import type { Learner, Message, TokenBatch } from '@espalier/spec';
import { describe, expect, it } from 'vitest';
import { parseSFTConfig } from './config';
import { sftLoss, type SFTLossOptions } from './loss';
import { sftObjective } from './objective';
import { evaluatePerplexity } from './perplexity';
import type { RowTokenizer } from './row-tokenizer';
import { countRows, packRows, tokenizeRow } from './rows';

/** A token a character, by its code; 0 ends a sequence, 1 begins one, `<t>` texts of the template are ordinary characters. */
const tokenizer: RowTokenizer = {
  eosTokenId: 0,
  encode: (text, options = {}) => Int32Array.from([...(options.addSpecialTokens === false ? [] : [1]), ...[...text].map((c) => (c === '$' ? 0 : c.charCodeAt(0)))]),
  applyChatTemplate: (messages: readonly Message[], options = {}) => messages.map(({ role, content }) => `<${role[0]}>${content}$`).join('') + (options.addGenerationPrompt ? '<a>' : ''),
};
const text = (tokens: Int32Array) => Array.from(tokens, (t) => (t === 0 ? '$' : t === 1 ? '^' : String.fromCharCode(t))).join('');
const shown = (row: Record<string, unknown>, options = {}) => {
  const result = tokenizeRow(row, tokenizer, options);
  return result && [text(result.tokens), result.lossMask.join('')];
};
const chat = (content: string, role = 'user') => ({ role, content });

describe('tokenizeRow', () => {
  it('text: all of it, with the end of the sequence', () => {
    expect(shown({ text: 'abc' })).toEqual(['^abc$', '11111']);
    expect(shown({ text: 'abc$' })).toEqual(['^abc$', '11111']);
    expect(shown({ body: 'abc' }, { datasetTextField: 'body' })).toEqual(['^abc$', '11111']);
  });
  it('messages: through the template, which writes its own special tokens', () => expect(shown({ messages: [chat('q'), chat('r', 'assistant')] })).toEqual(['<u>q$<a>r$', '1111111111']));
  it('prompt and completion: the completion alone by default', () => {
    expect(shown({ prompt: 'ab', completion: 'cd' })).toEqual(['^abcd$', '000111']);
    expect(shown({ prompt: 'ab', completion: 'cd' }, { completionOnlyLoss: false })).toEqual(['^abcd$', '111111']);
    expect(shown({ prompt: [chat('q')], completion: [chat('r', 'assistant')] })).toEqual(['<u>q$<a>r$', '0000000011']);
  });
  it('the completion begins where the tokens part, not where the prompt ends', () => {
    // "ab" is one token only when "c" does not follow
    const merging: RowTokenizer = { ...tokenizer, encode: (given) => Int32Array.from(given === 'ab' ? [1, 500] : [1, 97, 501]) };
    const row = tokenizeRow({ prompt: 'ab', completion: 'c' }, merging)!;
    expect([...row.tokens]).toEqual([1, 97, 501, 0]);
    expect([...row.lossMask]).toEqual([0, 1, 1, 1]);
  });
  it('cuts at either end, and drops what nothing is left of', () => {
    expect(shown({ prompt: 'ab', completion: 'cdef' }, { maxLength: 5 })).toEqual(['^abcd', '00011']);
    expect(shown({ prompt: 'ab', completion: 'cdef' }, { maxLength: 5, truncationMode: 'keep_end' })).toEqual(['cdef$', '11111']);
    expect(shown({ prompt: 'abcd', completion: 'e' }, { maxLength: 5 })).toBe(null);
    expect(shown({ text: 'a'.repeat(3000) }, { maxLength: null })![0]).toHaveLength(3002);
    expect(shown({ text: 'a'.repeat(3000) })![0]).toHaveLength(1024);
    expect(tokenizeRow({ text: '' }, { ...tokenizer, eosTokenId: null })).toBe(null);
  });
  it('names file, line and field of a wrong row', () => {
    expect(() => tokenizeRow({ prompt: 'a', completion: 3 }, tokenizer, { origin: { file: 'f.jsonl', line: 7 } })).toThrow(/f\.jsonl:7: `completion`.*found 3/);
    expect(() => tokenizeRow({ question: 'a' }, tokenizer)).toThrow('has `prompt` and `completion`');
  });
});

describe('packRows', () => {
  const rows = [{ prompt: 'ab', completion: 'c' }, { text: 'xy' }].map((row) => tokenizeRow(row, tokenizer)!);
  it('is ragged; every trained token but a first one is an action', () => {
    const batch = packRows(rows);
    expect(text(batch.tokens)).toBe('^abc$^xy$');
    expect([...batch.offsets]).toEqual([0, 5, 9]);
    expect([...batch.actionIndex]).toEqual([3, 4, 6, 7, 8]);
    expect(batch.normalizer).toEqual({ tokens: 5, sequences: 2 });
    expect(countRows(rows)).toEqual(batch.normalizer);
  });
  it('wants rows', () => expect(() => packRows([])).toThrow('nothing to train on'));
});

describe('sftLoss', () => {
  const inputs = { logps: [[-1.1, -0.2, -2.3], [-0.7, -1.9, NaN]], mask: [[1, 1, 1], [0, 1, 0]] };
  it('nll is the mean over all tokens that count', () => {
    const { loss, metrics } = sftLoss(inputs);
    expect(loss).toBeCloseTo((1.1 + 0.2 + 2.3 + 1.9) / 4, 12);
    expect(metrics).toEqual({ nll: loss, perplexity: Math.exp(loss), num_tokens: 4 });
  });
  it('dft over two equally likely tokens is half of the cross-entropy (TRL)', () => {
    const logps = [[Math.log(0.5), Math.log(0.5)]];
    expect(sftLoss({ logps }, { lossType: 'dft' }).loss).toBeCloseTo(sftLoss({ logps }).loss / 2, 12);
  });
  it('nll: gradient against finite differences; dft: −p / tokens, the weight being a constant', () => {
    const { grads } = sftLoss(inputs);
    inputs.logps.forEach((row, r) => row.forEach((v, t) => {
      if (!inputs.mask[r][t]) return expect(grads.logps[r][t]).toBe(0);
      const at = (h: number) => sftLoss({ ...inputs, logps: inputs.logps.map((x, i) => x.map((y, j) => (i === r && j === t ? y + h : y))) }).loss;
      expect(grads.logps[r][t]).toBeCloseTo((at(1e-6) - at(-1e-6)) / 2e-6, 7);
      expect(sftLoss(inputs, { lossType: 'dft' }).grads.logps[r][t]).toBeCloseTo(-Math.exp(v) / 4, 12);
    }));
  });
  it('parts of a step add up', () => {
    const part = (r: number) => sftLoss({ logps: [inputs.logps[r]], mask: [inputs.mask[r]], normalizer: { tokens: 4, sequences: 2 } }).loss;
    expect(part(0) + part(1)).toBeCloseTo(sftLoss(inputs).loss, 12);
  });
  it('names bad input', () => {
    expect(() => sftLoss({ logps: [[-Infinity]] })).toThrow('`logps`[0][0] is -Infinity');
    expect(() => sftLoss({ logps: [[-1]], mask: [[1, 1]] })).toThrow('row 0 of `mask` has 2 entries');
    expect(() => sftLoss({ logps: [[-1]] }, { lossType: 'mse' as never })).toThrow('one of nll, dft');
    expect(sftLoss({ logps: [[-1]], mask: [[0]] }).loss).toBe(0);
  });
});

describe('sftObjective', () => {
  const batch: TokenBatch = { tokens: new Int32Array(4), offsets: Int32Array.of(0, 4), actionIndex: Int32Array.of(1, 2, 3), columns: {}, normalizer: { tokens: 3, sequences: 1 } };
  const logps = Float32Array.of(-1, -0.5, -2);
  it.each<SFTLossOptions>([{}, { lossType: 'dft' }])('is sftLoss on the actions: %j', (options) => {
    const expected = sftLoss({ logps: [logps] }, options);
    const { loss, grads, metrics } = sftObjective(options).evaluate({ logps, entropy: Float32Array.of(1, 2, 3) }, batch);
    expect(loss).toBe(expected.loss);
    expect([...grads.logps!]).toEqual(expected.grads.logps[0].map(Math.fround));
    expect(metrics).toEqual({ nll: { sum: 3.5, weight: 3 }, entropy: { sum: 6, weight: 3 } });
  });
  it('stops where the weights have diverged', () => expect(() => sftObjective().evaluate({ logps: Float32Array.of(-1, NaN, -1) }, batch)).toThrow('logps[1] is NaN'));
});

describe('evaluatePerplexity', () => {
  it('is over all trained tokens, whatever the batches', async () => {
    const sizes: number[] = [];
    const learner = { forward: async (batch: TokenBatch) => (sizes.push(batch.tokens.length), { logps: Float32Array.from(batch.actionIndex, (t) => -batch.tokens[t] / 128) }) } as unknown as Learner;
    const rows = ['abc', 'de', 'fghij', 'k'].map((t) => tokenizeRow({ text: t }, tokenizer)!);
    const whole = await evaluatePerplexity(learner, rows);
    const parts = await evaluatePerplexity(learner, rows, { batchTokens: 6 });
    expect(sizes).toEqual([19, 5, 4, 7, 3]);
    expect(parts.nll).toBeCloseTo(whole.nll, 12);
    expect(whole.tokens).toBe(15);
    expect(whole.perplexity).toBe(Math.exp(whole.nll));
  });
});

describe('configuration', () => {
  it('has TRL\'s defaults', () => {
    expect(parseSFTConfig()).toMatchObject({ learningRate: 2e-5, maxLength: 1024, truncationMode: 'keep_start', lossType: 'nll', datasetTextField: 'text' });
    expect(parseSFTConfig({ completionOnlyLoss: null }).completionOnlyLoss).toBeUndefined();
  });
  it('names wrong fields', () => expect(() => parseSFTConfig({ maxLength: 1 })).toThrow('`max_length`'));
});
