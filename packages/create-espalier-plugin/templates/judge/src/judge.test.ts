import { describeJudge } from '@espalier/testkit';
import { describe, expect, it } from 'vitest';
import { __camelName__Judge } from './judge.js';

describeJudge(() => __camelName__Judge());

describe('__camelName__Judge', () => {
  it('prefers the shorter answer, the more the longer the other', async () => {
    const judge = __camelName__Judge({ scale: 1 });
    const { probability } = (await judge.compare({ prompt: 'Is ice cold?', first: 'Yes.', second: 'Yes, it is.' }))!;
    expect(probability).toBeCloseTo(1 / (1 + Math.exp(-2)), 12);
  });

  it('has no opinion where an answer is empty', async () => {
    expect(await __camelName__Judge().compare({ prompt: 'Is ice cold?', first: '', second: 'Yes.' })).toBeNull();
  });

  it('refuses a scale that is none', () => {
    expect(() => __camelName__Judge({ scale: 0 })).toThrow('__name__: `scale` is 0');
  });
});
