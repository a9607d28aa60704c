import { characterTokenizer } from '@espalier/models';
import { describe, expect, it } from 'vitest';
import { packSequences, prepareRow, type PrepareRowOptions } from './rows';

const characters = characterTokenizer('abcdef');
const tokenizer = {
  encode: (text: string) => characters.encode(text),
  applyChatTemplate: (messages: readonly { role: string; content: string }[], { addGenerationPrompt = false } = {}) => messages.map(({ role, content }) => `${role === 'assistant' ? 'f' : 'e'}${content}`).join('') + (addGenerationPrompt ? 'f' : ''),
  eosTokenId: 99,
};
const ids = (text: string) => [...characters.encode(text)];
const prepare = (row: Record<string, unknown>, options: Partial<PrepareRowOptions> = {}) => prepareRow(row, tokenizer, { maxLength: 32, positions: 32, maxNewTokens: 4, completionNeeded: true, ...options });

describe('prepareRow', () => {
  it('takes text, messages and lists of messages', () => {
    expect(prepare({ prompt: 'ab', completion: 'cd' })).toEqual({ prompt: 'ab', promptTokens: characters.encode('ab'), example: { tokens: Int32Array.from([...ids('abcd'), 99]), start: 2 } });
    const turns = [{ role: 'user', content: 'ab' }, { role: 'assistant', content: 'cd' }];
    const expected = { promptTokens: characters.encode('eabf'), example: { tokens: characters.encode('eabfcd'), start: 4 } };
    expect(prepare({ messages: turns })).toMatchObject(expected);
    expect(prepare({ prompt: turns.slice(0, 1), completion: turns.slice(1) })).toMatchObject(expected);
  });

  it('takes a prompt alone where no completion is needed, and refuses it elsewhere', () => {
    expect(prepare({ prompt: 'ab' }, { completionNeeded: false })).toMatchObject({ promptTokens: characters.encode('ab'), example: null });
    expect(() => prepare({ prompt: 'ab' }, { origin: { file: 'a.jsonl', line: 3 } })).toThrow(/a\.jsonl:3: there is no `completion`/);
    expect(() => prepare({ messages: [{ role: 'user', content: 'ab' }] })).toThrow(/no `messages` that ends with the assistant's/);
  });

  it('cuts the beginning of what is too long, as TRL does', () => {
    const row = { prompt: 'abcdef', completion: 'ab' };
    expect(prepare(row, { maxLength: 5 })).toEqual({ prompt: 'abcdef', promptTokens: characters.encode('ef'), example: { tokens: Int32Array.from([...ids('efab'), 99]), start: 2 } });
    expect(prepare({ prompt: 'abcdef' }, { maxLength: 2, completionNeeded: false })?.promptTokens).toEqual(characters.encode('ef'));
    expect(() => prepare(row, { maxLength: 3 })).toThrow(/cut to 3 tokens, the row has a completion and no prompt/);
    expect(() => prepare(row, { positions: 9 })).toThrow(/`prompt` has 6 tokens, and with 4 new ones it is longer than the 9 positions/);
    expect(prepare(row, { positions: 9, maxNewTokens: null })).not.toBeNull();
  });

  it('leaves out a row whose completion is empty', () => {
    const turns = [{ role: 'user', content: 'ab' }, { role: 'assistant', content: '' }];
    expect(prepare({ messages: turns })).toBeNull();
    expect(prepare({ messages: turns }, { completionNeeded: false })).toMatchObject({ example: null });
  });
});

it('packSequences makes every token of a completion an action', () => {
  const batch = packSequences([{ tokens: Int32Array.of(1, 2, 3), start: 1 }, { tokens: Int32Array.of(4, 5), start: 1 }]);
  expect(batch).toMatchObject({ offsets: Int32Array.of(0, 3, 5), actionIndex: Int32Array.of(1, 2, 4), normalizer: { tokens: 3, sequences: 2 } });
});
