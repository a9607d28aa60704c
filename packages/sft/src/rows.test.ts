import type { Message } from '@espalier/spec';
import { describe, expect, it } from 'vitest';
import { assistantTokens, isStopTokenTrained, tokenEnds } from './assistant-mask';
import { packDocuments } from './pack-documents';
import type { RowTokenizer, TemplateOptions } from './row-tokenizer';
import { packRows, tokenizeRow, type TokenizeRowOptions } from './rows';

// A token a character but for the pieces of the vocabulary, longest first: `[` begins a turn, `]` ends it.
const pieces = ['ab', 'bc', ']\n', '[', ']'];
const codes = (text: string): number[] => {
  const ids: number[] = [];
  for (let at = 0; at < text.length; ) {
    const piece = pieces.findIndex((p) => text.startsWith(p, at));
    ids.push(piece >= 0 ? 1000 + piece : text.charCodeAt(at));
    at += piece >= 0 ? pieces[piece].length : 1;
  }
  return ids;
};
const render = (messages: readonly Message[], { addGenerationPrompt, tools, variables }: TemplateOptions = {}) =>
  `${tools ? `tools:${tools.length};` : ''}${variables ? `${Object.keys(variables).join()};` : ''}${messages.map(({ role, content }) => `[${role[0]}:${content}]\n`).join('')}${addGenerationPrompt ? '[a:' : ''}`;
const tokenizer: RowTokenizer = {
  eosTokenId: 2,
  specialTokenIds: new Set([1003, 1004]),
  encode: (text, { addSpecialTokens = true } = {}) => Int32Array.from([...(addSpecialTokens ? [1] : []), ...codes(text)]),
  decode: (ids) => [...ids].map((id) => (id === 1 ? '^' : id === 2 ? '$' : id >= 1000 ? pieces[id - 1000] : String.fromCharCode(id))).join(''),
  applyChatTemplate: render,
};
const chat = (...contents: string[]): Message[] => contents.map((content, i) => ({ role: i % 2 ? 'assistant' : 'user', content }));
/** What the mask leaves, as text; the rest as dots. */
const shown = (tokens: Int32Array, mask: Uint8Array) => Array.from(tokens, (id, t) => (mask[t] ? tokenizer.decode!([id]) : '.')).join('').replaceAll('\n', '⏎');
const marked = (row: Record<string, unknown>, options: TokenizeRowOptions = {}) => {
  const { tokens, lossMask } = tokenizeRow(row, tokenizer, { assistantOnlyLoss: true, ...options })!;
  return shown(tokens, lossMask);
};

describe('assistantOnlyLoss', () => {
  it('without markers: what each assistant message adds to the rendering before it', () => {
    expect(marked({ messages: chat('x', 'yes', 'z', 'no') })).toBe('.....' + '...yes]⏎' + '.....' + '...no]⏎');
  });

  it('with markers: what they enclose, a token that straddles a border included', () => {
    const markers: RowTokenizer = {
      ...tokenizer,
      chatTemplate: {
        hasGenerationMarkers: true,
        renderMarked(messages, options) {
          const text = render(messages, options);
          const spans: [number, number][] = [];
          for (const found of text.matchAll(/\[a:([^\]]*\])/g)) spans.push([found.index + 3, found.index + found[0].length]);
          return { text, spans };
        },
      },
    };
    const { tokens, mask } = assistantTokens(chat('x', 'yes'), markers);
    expect(shown(tokens, mask)).toBe('........yes]⏎'); // `]` and the line break are one token
  });

  it('together with completionOnlyLoss both must hold', () => {
    const row = { prompt: chat('x', 'yes', 'z'), completion: [{ role: 'assistant', content: 'no' }] };
    expect(marked(row)).toMatch(/^\.+no\]⏎$/);
    expect(marked(row, { completionOnlyLoss: false })).toMatch(/^\.+yes\]⏎\.+no\]⏎$/);
  });

  it('goes by characters where decoding gives the text back, by common beginnings where it does not', () => {
    const row = { messages: chat('xab', 'abcé', 'bc', 'b') };
    const aligned = marked(row);
    const { decode: _decode, ...blind } = tokenizer;
    const { tokens, lossMask } = tokenizeRow(row, blind, { assistantOnlyLoss: true })!;
    expect(shown(tokens, lossMask)).toBe(aligned);
    expect(aligned).toContain('abcé]⏎');
  });

  it('refuses text, a row without an assistant, and a template that rewrites earlier messages', () => {
    const origin = { file: 'f.jsonl', line: 3 };
    expect(() => marked({ text: 'a' }, { origin })).toThrow('f.jsonl:3: `assistant_only_loss` needs messages');
    expect(() => marked({ messages: chat('x') }, { origin })).toThrow('f.jsonl:3: `assistant_only_loss` is set, and no token of this row is the assistant\'s');
    const forgetful: RowTokenizer = { ...tokenizer, applyChatTemplate: (messages, options) => render(messages.slice(-2), options) };
    expect(() => assistantTokens(chat('a', 'b', 'c', 'd'), forgetful)).toThrow('no `{% generation %}` markers');
  });
});

describe('tokenEnds', () => {
  it('places pieces of one character after it, and a space that a decoder eats', () => {
    const bytes = Buffer.from('aé€b');
    expect([...tokenEnds(Int32Array.from(bytes), 'aé€b', { decode: (ids) => Buffer.from([...ids]).toString() })!]).toEqual([1, 2, 2, 3, 3, 3, 4]);
    const words = ['Hi', 'there', 'you'];
    expect([...tokenEnds(Int32Array.of(0, 1, 2), 'Hi there you', { decode: (ids) => [...ids].map((i) => words[i]).join(' ') })!]).toEqual([2, 8, 12]);
  });
  it('is null where decoding gives another text', () => {
    expect(tokenEnds(Int32Array.from(codes('ABC')), 'ABC', { decode: (ids) => tokenizer.decode!(ids).toLowerCase() })).toBe(null);
    expect(tokenEnds(Int32Array.of(1), 'a', {})).toBe(null);
  });
});

describe('isStopTokenTrained', () => {
  it('looks for a special token at the end of what counts', () => {
    expect(isStopTokenTrained({ ...tokenizer, specialTokenIds: new Set([1002, 1003, 1004]) })).toBe(true); // `]` with its line break is one token here
    expect(isStopTokenTrained(tokenizer)).toBe(false);
    const separate = { ...tokenizer, applyChatTemplate: (messages: readonly Message[], options: TemplateOptions = {}) => render(messages, options).replaceAll(']\n', '] \n') };
    expect(isStopTokenTrained(separate)).toBe(true); // white space behind it does not matter
    expect(isStopTokenTrained(separate, false)).toBe(true);
    expect(isStopTokenTrained({ ...tokenizer, applyChatTemplate: (messages) => messages.map(({ content }) => content).join('\n') }, false)).toBe(false);
  });
  it('a turn that ends with the next message is not trained to end', () => {
    const late: RowTokenizer = { ...tokenizer, chatTemplate: { hasGenerationMarkers: true, renderMarked: () => ({ text: '[u:d][a:d][u:d]', spans: [[8, 9]] }) } };
    expect(isStopTokenTrained(late)).toBe(false);
  });
});

describe('rows', () => {
  it('of tokens: labels, or masks that must all hold', () => {
    const shape = (row: Record<string, unknown>, options: TokenizeRowOptions = {}) => tokenizeRow(row, tokenizer, options);
    const ids = [5, 6, 7, 8];
    expect(shape({ input_ids: ids })).toEqual({ tokens: Int32Array.from(ids), lossMask: Uint8Array.of(1, 1, 1, 1) });
    expect(shape({ input_ids: ids, labels: [-100, -100, 7, 8] })!.lossMask).toEqual(Uint8Array.of(0, 0, 1, 1));
    const masked = { input_ids: ids, completion_mask: [0, 1, 1, 1], assistant_masks: [0, 1, 0, 1] };
    expect(shape(masked)!.lossMask).toEqual(Uint8Array.of(0, 1, 0, 1));
    expect(shape({ ...masked, assistant_masks: undefined }, { completionOnlyLoss: false })!.lossMask).toEqual(Uint8Array.of(1, 1, 1, 1));
    expect(shape({ input_ids: ids }, { maxLength: 2 })!.tokens).toEqual(Int32Array.of(5, 6));
    const origin = { file: 'f.jsonl', line: 2 };
    expect(() => shape({ input_ids: [1, -1] }, { origin })).toThrow('f.jsonl:2: `input_ids`[1]: must be token ids, found -1');
    expect(() => shape({ input_ids: ids, labels: [1] }, { origin })).toThrow('`labels` has 1 entries for 4');
    expect(() => shape({ input_ids: ids, labels: [5, 7, 8, 9] }, { origin })).toThrow('`labels`[1] is 7, and `input_ids`[1] is 6');
    expect(() => shape({ input_ids: 'x' }, { origin })).toThrow('must be a list of token ids');
  });

  it('with tools, template variables, and messages as from/value', () => {
    const text = (row: Record<string, unknown>) => tokenizer.decode!(tokenizeRow(row, tokenizer)!.tokens);
    expect(text({ messages: chat('x', 'y'), tools: '[{"name":"f"}]', chat_template_kwargs: { thinking: true } })).toBe('tools:1;thinking;[u:x]\n[a:y]\n');
    expect(text({ conversations: [{ from: 'human', value: 'x' }, { from: 'gpt', value: 'y' }] })).toBe('[u:x]\n[a:y]\n');
    expect(() => text({ messages: chat('x', 'y'), tools: '{oops' })).toThrow('`tools`: not valid JSON');
  });

  it('a prompt that is not the beginning of prompt and completion is told of', () => {
    const told: string[] = [];
    const options: TokenizeRowOptions = { onNotice: (name, message) => told.push(`${name}: ${message}`) };
    const { tokens, lossMask } = tokenizeRow({ prompt: 'xa', completion: 'b' }, tokenizer, options)!; // `ab` is one token
    expect(shown(tokens, lossMask)).toBe('..ab$');
    expect(told).toEqual([expect.stringMatching(/^prompt_not_a_prefix: .*\("a"\)/)]);
    tokenizeRow({ prompt: 'x', completion: 'b' }, tokenizer, options);
    expect(told).toHaveLength(1);
  });
});

describe('packDocuments', () => {
  const row = (length: number, mask = 1) => ({ tokens: Int32Array.from({ length }, (_, t) => 10 * length + t), lossMask: new Uint8Array(length).fill(mask) });
  const lengths = (packed: ReturnType<typeof packDocuments>) => packed.map(({ documents }) => documents.map(({ tokens }) => tokens.length));

  it('keeps documents apart, but for wrapped', () => {
    const rows = [row(5), row(2), row(3, 0), row(1)];
    expect(lengths(packDocuments(rows, 4, 'bfd'))).toEqual([[4], [3, 1], [2]]);
    expect(lengths(packDocuments(rows, 4, 'bfd_split'))).toEqual([[4], [3, 1], [2, 1]]);
    const wrapped = packDocuments(rows, 4, 'wrapped');
    expect(lengths(wrapped)).toEqual([[4], [4], [3]]);
    expect([...wrapped[1].documents[0].tokens]).toEqual([54, 20, 21, 30]);
    expect([...wrapped[1].documents[0].lossMask]).toEqual([1, 1, 1, 0]);
  });

  it('in a batch, the first token of every document is predicted from nothing, and not trained on', () => {
    const batch = packRows(packDocuments([row(2), row(2), row(3)], 4, 'bfd').flatMap(({ documents }) => documents));
    expect([...batch.offsets]).toEqual([0, 3, 5, 7]);
    expect([...batch.actionIndex]).toEqual([1, 2, 4, 6]);
  });

  it('packs a thousand rows at a time, as TRL does', () => {
    const packed = packDocuments(Array.from({ length: 1001 }, () => row(1)), 600, 'bfd');
    expect(packed.map(({ documents }) => documents.length)).toEqual([600, 400, 1]);
  });
});
