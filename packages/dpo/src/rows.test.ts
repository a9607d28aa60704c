import type { ChatTemplateOptions } from '@espalier/models';
import type { Message } from '@espalier/spec';
import { describe, expect, it } from 'vitest';
import { pairRows } from './pair-rows';
import { inUnpairedOrder, packKl, packPreferences, packUnpaired, tokenizePreference, tokenizeUnpaired, withKlCompletions, type RowTokenizer, type UnpairedExample } from './index';

const eos = 1;
const bos = 2;
/** A character a token; a turn is `<role:content>`. */
const tokenizer: RowTokenizer = {
  encode: (text) => Int32Array.from(text, (c) => c.charCodeAt(0)),
  applyChatTemplate: (messages: readonly Message[], { addGenerationPrompt, tools, variables }: ChatTemplateOptions = {}) =>
    `${tools ? `[${tools.length}]` : ''}${variables?.brief ? '!' : ''}${messages.map(({ role, content }) => `<${role[0]}:${content}>`).join('')}${addGenerationPrompt ? '<a:' : ''}`,
  bosTokenId: bos,
  eosTokenId: eos,
};
const text = (tokens: Int32Array) => Array.from(tokens, (t) => (t === eos ? '.' : t === bos ? '^' : String.fromCharCode(t))).join('');
const whole = { maxLength: null };
const pairOf = (row: Record<string, unknown>, options: Parameters<typeof tokenizePreference>[2] = whole) => {
  const example = tokenizePreference(row, tokenizer, options);
  return example && [example.prompt, example.chosen, example.rejected, ...(example.rejectedPrompt ? [example.rejectedPrompt] : [])].map(text);
};

describe('tokenizePreference', () => {
  it('takes text with its prompt, or with the prompt as the common beginning', () => {
    expect(pairOf({ prompt: 'two plus two', chosen: ' is four', rejected: ' is five' })).toEqual(['two plus two', ' is four.', ' is five.']);
    expect(pairOf({ chosen: 'the sky is blue', rejected: 'the sky is green' })).toEqual(['the sky is', ' blue.', ' green.']);
  });

  it('takes messages through the template, which writes what it likes at the end', () => {
    const messages = (role: string, content: string) => [{ role, content }];
    const expected = ['<u:hi><a:', 'hello>', 'bye>'];
    expect(pairOf({ prompt: messages('user', 'hi'), chosen: messages('assistant', 'hello'), rejected: messages('assistant', 'bye') })).toEqual(expected);
    expect(pairOf({ chosen: [...messages('user', 'hi'), ...messages('assistant', 'hello')], rejected: [...messages('user', 'hi'), ...messages('assistant', 'bye')] })).toEqual(expected);
    const row = { prompt: messages('user', 'hi'), chosen: messages('assistant', 'hello'), rejected: messages('assistant', 'bye'), tools: '[{"name": "f"}]', chat_template_kwargs: { brief: true } };
    expect(pairOf(row)).toEqual(['[1]!<u:hi><a:', 'hello>', 'bye>']);
  });

  it('begins a completion where the first of the two parts from the prompt alone', () => {
    const merging: RowTokenizer = { ...tokenizer, encode: (given) => Int32Array.from(given.replace('=4', 'X'), (c) => c.charCodeAt(0)) };
    const example = tokenizePreference({ prompt: '2+2=', chosen: '4', rejected: '5' }, merging, whole)!;
    expect([example.prompt, example.chosen, example.rejected].map(text)).toEqual(['2+2', 'X.', '=5.']);
  });

  it('puts BOS and EOS where CPO and ORPO want them', () => {
    expect(pairOf({ prompt: 'a', chosen: 'b', rejected: 'c' }, { maxLength: null, bosAndEos: true })).toEqual(['^a', 'b.', 'c.']);
    const turn = (role: string, content: string) => [{ role, content }];
    expect(pairOf({ prompt: turn('user', 'a'), chosen: turn('assistant', 'b'), rejected: turn('assistant', 'c') }, { maxLength: null, bosAndEos: true })).toEqual(['^<u:a><a:', 'b>.', 'c>.']);
  });

  it('cuts the end, and drops a pair whose prompt fills everything', () => {
    const row = { prompt: 'abc', chosen: 'defg', rejected: 'x' };
    expect(pairOf(row, { maxLength: 5 })).toEqual(['abc', 'de', 'x.']);
    expect(pairOf(row, { maxLength: 3 })).toBeNull();
  });

  it('cuts the beginning where that is asked for, each completion\'s own', () => {
    const row = { prompt: 'abc', chosen: 'defg', rejected: 'x' };
    expect(pairOf(row, { maxLength: 6, truncationMode: 'keep_end' })).toEqual(['c', 'defg.', 'x.', 'abc']);
    expect(pairOf(row, { maxLength: 4, truncationMode: 'keep_end' })).toEqual(['', 'efg.', 'x.', 'bc']);
    expect(pairOf({ prompt: 'abc', chosen: 'de', rejected: 'xy' }, { maxLength: 5, truncationMode: 'keep_end' })).toEqual(['bc', 'de.', 'xy.']);
  });

  it('names what is wrong', () => {
    expect(() => tokenizePreference({ prompt: 'a', chosen: 3, rejected: 'b' }, tokenizer, { ...whole, origin: { file: 'rows.jsonl', line: 4 } })).toThrow(/rows\.jsonl:4: `chosen`/);
  });
});

describe('tokenizeUnpaired', () => {
  it('takes a labelled completion, and both of a pair', () => {
    expect(tokenizeUnpaired({ prompt: 'a', completion: 'b', label: false }, tokenizer, whole).map((e) => [text(e.prompt), text(e.completion), e.label, e.fromPair])).toEqual([['a', 'b.', false, false]]);
    expect(tokenizeUnpaired({ prompt: 'a', chosen: 'b', rejected: 'c' }, tokenizer, { maxLength: 2 }).map((e) => [text(e.completion), e.label, e.fromPair])).toEqual([['b', true, true], ['c', false, true]]);
    expect(tokenizeUnpaired({ prompt: 'ab', completion: 'b', label: true }, tokenizer, { maxLength: 2 })).toEqual([]);
  });

  const example = (completion: number, label = true, fromPair = false): UnpairedExample => ({ prompt: Int32Array.of(9), completion: Int32Array.of(completion), label, fromPair });

  it('orders the halves of pairs as TRL does: the chosen of a thousand first', () => {
    const pairs = Array.from({ length: 4002 }, (_, i) => example(i, i % 2 === 0, true));
    const order = inUnpairedOrder(pairs).map(({ completion }) => completion[0]);
    expect(order.slice(0, 3)).toEqual([0, 2, 4]);
    expect(order.slice(998, 1002)).toEqual([1996, 1998, 1, 3]);
    expect(order.slice(2000, 2002)).toEqual([2000, 2002]);
    expect(order.slice(4000)).toEqual([4000, 4001]);
    const labelled = [example(1, false), example(2, true)];
    expect(inUnpairedOrder(labelled)).toEqual(labelled);
  });

  it('gives each the completion of the one before it in its batch, the first that of the last', () => {
    expect(withKlCompletions([1, 2, 3, 4, 5].map((c) => example(c)), 3).map(({ klCompletion }) => klCompletion![0])).toEqual([3, 1, 2, 5, 4]);
  });
});

describe('batches', () => {
  const ints = (...values: number[]) => Int32Array.from(values);

  it('a pair\'s prompt is stored once, and its completions continue it', () => {
    const batch = packPreferences([{ prompt: ints(1, 2), chosen: ints(3, 4), rejected: ints(5) }, { prompt: ints(), chosen: ints(6, 7), rejected: ints(8, 9, 10) }]);
    expect([...batch.tokens]).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    expect([...batch.offsets]).toEqual([0, 2, 4, 5, 7, 10]);
    expect([...batch.prefixOf!]).toEqual([-1, 0, 0, -1, -1]);
    expect([...batch.pairs!]).toEqual([1, 2, 3, 4]);
    expect([...batch.actionIndex]).toEqual([2, 3, 4, 6, 8, 9]); // what nothing precedes has no log-prob
    expect(batch.normalizer).toEqual({ tokens: 3, sequences: 4 });
    const { chosen, rejected, others } = pairRows(batch);
    expect([[...chosen.index], [...rejected.index], [...others]]).toEqual([[0, 1, 3], [2, 4, 5], []]);
  });

  it('prompts that were cut differently stand for themselves', () => {
    const batch = packPreferences([{ prompt: ints(2), chosen: ints(3, 4), rejected: ints(5), rejectedPrompt: ints(1, 2) }]);
    expect([...batch.tokens]).toEqual([2, 3, 4, 1, 2, 5]);
    expect([...batch.prefixOf!]).toEqual([-1, -1]);
    expect([...batch.actionIndex]).toEqual([1, 2, 5]);
  });

  it('ORPO trains on the prompt as well', () => {
    const batch = packPreferences([{ prompt: ints(1, 2, 3), chosen: ints(4, 5), rejected: ints(6) }], { promptActions: true });
    expect([...batch.actionIndex]).toEqual([1, 2, 3, 4, 5]);
    expect(batch.normalizer.tokens).toBe(4);
    expect([...pairRows(batch).others]).toEqual([0, 1]);
  });

  it('labelled completions, and their prompts with those of others', () => {
    const examples = withKlCompletions([{ prompt: ints(1, 2), completion: ints(3), label: true, fromPair: false }, { prompt: ints(4), completion: ints(5, 6), label: false, fromPair: false }], 2);
    const batch = packUnpaired(examples);
    expect([...batch.tokens]).toEqual([1, 2, 3, 4, 5, 6]);
    expect([...batch.columns.labels]).toEqual([1, 0, 0]);
    const both = packKl(examples, { own: true, maxLength: 3 });
    expect([...both.batch.tokens]).toEqual([1, 2, 3, 5, 4, 5, 6, 3]); // the second completion is cut where the first prompt leaves room for one token
    expect([...both.batch.prefixOf!]).toEqual([-1, 0, 0, -1, 3, 3]);
    expect([both.own, both.kl]).toEqual([[[0, 1], [2, 4]], [[1, 2], [4, 5]]]);
  });

  it('nothing to compare is refused', () => {
    expect(() => packPreferences([])).toThrow(/a batch of no pairs/);
    expect(() => packUnpaired([])).toThrow(/a batch of no completions/);
  });
});
