import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { detectChatFormat, loadRows, parseChatml, toTrlRow } from './index';

let dir: string;
beforeAll(() => void (dir = mkdtempSync(join(tmpdir(), 'espalier-chat-'))));
afterAll(() => rmSync(dir, { recursive: true }));

const sharegpt = { id: 'x', system: 'Be brief.', tools: '[]', conversations: [{ from: 'human', value: 'Weather?' }, { from: 'function_call', value: '{"name":"w"}' }, { from: 'observation', value: 'rain' }, { from: 'gpt', value: 'Rain.' }] };

describe('other formats of conversations', () => {
  it('ShareGPT: roles of tools and further columns are kept', () => {
    expect(detectChatFormat(sharegpt)).toBe('sharegpt');
    expect(toTrlRow(sharegpt, 'sharegpt')).toEqual({
      id: 'x', tools: '[]',
      messages: [{ role: 'system', content: 'Be brief.' }, { role: 'user', content: 'Weather?' }, { role: 'assistant', content: '{"name":"w"}' }, { role: 'tool', content: 'rain' }, { role: 'assistant', content: 'Rain.' }],
    });
    expect(toTrlRow({ prompt: [{ from: 'human', value: 'a' }], chosen: [{ from: 'gpt', value: 'b' }], rejected: [{ from: 'gpt', value: 'c' }] }, 'sharegpt')).toEqual({ prompt: [{ role: 'user', content: 'a' }], chosen: [{ role: 'assistant', content: 'b' }], rejected: [{ role: 'assistant', content: 'c' }] });
  });
  it('ChatML under other names; a call of tools without content', () => {
    const row = { conversation: [{ role: 'user', content: 'a', name: null }, { role: 'assistant', content: null, tool_calls: [{ id: 1 }] }] };
    expect(detectChatFormat(row)).toBe('chatml');
    expect(toTrlRow(row, 'chatml')).toEqual({ messages: [{ role: 'user', content: 'a' }, { role: 'assistant', content: '', tool_calls: [{ id: 1 }] }] });
    expect(detectChatFormat({ conversations: [{ role: 'user', content: 'a' }] })).toBe('chatml');
    expect(parseChatml('<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi\nyou<|im_end|>')).toEqual([{ role: 'system', content: 'Be brief.' }, { role: 'user', content: 'Hi\nyou' }]);
    expect(parseChatml('plain')).toBe(null);
  });
  it('Alpaca', () => {
    expect(toTrlRow({ instruction: 'Add.', input: '2 3', output: '5', source: 1 }, 'alpaca')).toEqual({ prompt: [{ role: 'user', content: 'Add.\n2 3' }], completion: [{ role: 'assistant', content: '5' }], source: 1 });
    expect(toTrlRow({ instruction: 'And 1?', input: '', output: '6', system: 'Be brief.', history: [['Add 2 3', '5']] }, 'alpaca').prompt).toEqual([{ role: 'system', content: 'Be brief.' }, { role: 'user', content: 'Add 2 3' }, { role: 'assistant', content: '5' }, { role: 'user', content: 'And 1?' }]);
    expect(() => toTrlRow({ instruction: 'a' }, 'alpaca', { file: 'f.parquet', row: 3 })).toThrow('f.parquet, row 3: `output`: must be text, it is missing');
  });
  it("TRL's own columns go first", () => {
    for (const row of [{ text: 'a', instruction: 'b', output: 'c' }, { messages: [{ role: 'user', content: 'a' }] }, { prompt: 'a', instruction: 'b', output: 'c' }, { question: 'a', answer: 'b' }]) expect(detectChatFormat(row)).toBe(null);
    expect(() => toTrlRow({ question: 'a' }, 'sharegpt')).toThrow('no column holds messages { from, value } (the row has `question`)');
  });
  it('are recognised with a notice, once a file, or by option', async () => {
    const path = join(dir, 'chat.jsonl');
    writeFileSync(path, `${JSON.stringify(sharegpt)}\n${JSON.stringify(sharegpt)}\n`);
    const notices: string[] = [];
    const rows = await loadRows(path, { accepted: ['language_modeling'], onNotice: (message) => notices.push(message) });
    expect(rows.row(1).messages).toHaveLength(5);
    expect(notices).toEqual([`${path} holds ShareGPT conversations: they are read as \`messages\` (chat=none leaves rows as they are)`]);
    expect((await loadRows(path, { chat: 'none' })).row(0)).toEqual(sharegpt);
    await expect(loadRows(path, { chat: 'alpaca' })).rejects.toThrow(/chat\.jsonl:1: `instruction`: must be text/);
  });
});
