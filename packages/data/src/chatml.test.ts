import { describe, expect, it } from 'vitest';
import { toChatml, unpairPreference } from './index';

describe('toChatml', () => {
  it('writes role and content for from and value, and leaves other rows alone', () => {
    expect(toChatml({ conversations: [{ from: 'human', value: 'a' }, { from: 'gpt', value: 'b', weight: 1 }], id: 3 })).toEqual({ id: 3, messages: [{ role: 'user', content: 'a' }, { role: 'assistant', content: 'b', weight: 1 }] });
    expect(toChatml({ prompt: [{ from: 'user', value: 'a' }], completion: [{ from: 'critic', value: 'b' }] })).toEqual({ prompt: [{ role: 'user', content: 'a' }], completion: [{ role: 'critic', content: 'b' }] });
    const row = { messages: [{ role: 'user', content: 'a' }] };
    expect(toChatml(row)).toBe(row);
  });
});

describe('unpairPreference', () => {
  it('gives the chosen and the rejected completion a label', () => {
    expect(unpairPreference({ prompt: 'a', chosen: 'b', rejected: 'c', source: 1 })).toEqual([
      { prompt: 'a', completion: 'b', label: true, source: 1 },
      { prompt: 'a', completion: 'c', label: false, source: 1 },
    ]);
    expect(unpairPreference({ chosen: 'The sky is blue', rejected: 'The sky is green' })[1]).toEqual({ prompt: 'The sky is', completion: ' green', label: false });
    expect(() => unpairPreference({ prompt: 'a', chosen: 'b' }, { file: 'f.jsonl', line: 3 })).toThrow(/f\.jsonl:3: `rejected`/);
  });
});
