import { describeRolloutEngine } from '@espalier/testkit';
import { describe, expect, it } from 'vitest';
import { bigramsOf } from './bigrams.js';
import { __camelName__Engine } from './engine.js';

const bytes = (text: string) => Int32Array.from(Buffer.from(text));

describeRolloutEngine(() => __camelName__Engine({ smoothing: 0.5 }), { prompts: [bytes('A tree'), bytes('t'), bytes('while it')] });

describe('__camelName__Engine', () => {
  it('says what it has read, at temperature 0', async () => {
    const engine = __camelName__Engine({ text: 'abcd\n' });
    const texts: string[] = [];
    for await (const { text, finishReason } of engine.generate([{ id: 'a', prompt: bytes('a'), seed: 1, sampling: { temperature: 0 } }])) texts.push(text, finishReason);
    expect(texts).toEqual(['bcd', 'stop']);
    await engine.close();
  });

  it('samples by the probabilities that it gives', async () => {
    const engine = __camelName__Engine({ text: 'ababac', smoothing: 1e-9 });
    let b = 0;
    for await (const { text } of engine.generate([{ id: 'a', prompt: bytes('a'), n: 3000, seed: 7, sampling: { maxNewTokens: 1 } }])) b += Number(text === 'b');
    expect(b / 3000).toBeCloseTo(2 / 3, 1); // five standard errors are 0.043
    await engine.close();
  });

  it('refuses what it cannot do, and tokens that it does not know', async () => {
    const engine = __camelName__Engine();
    const first = async (request: object) => engine.generate([{ id: 'a', prompt: bytes('a'), seed: 1, ...request }])[Symbol.asyncIterator]().next();
    await expect(first({ sampling: { topK: 5 } })).rejects.toMatchObject({ code: 'unsupported' });
    await expect(first({ prompt: Int32Array.of(300) })).rejects.toMatchObject({ code: 'bad_data' });
    await expect(first({ prompt: Int32Array.of() })).rejects.toMatchObject({ code: 'bad_data' });
  });
});

it('is a distribution at every temperature', () => {
  for (const temperature of [0.3, 1, 2]) expect(bigramsOf('abc', 0.1).logps(97, temperature).reduce((sum, logp) => sum + Math.exp(logp), 0)).toBeCloseTo(1, 12);
});
