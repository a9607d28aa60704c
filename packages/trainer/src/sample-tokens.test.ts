import type { Completion, ScoredTrajectory, TokenBatch } from '@espalier/spec';
import { describe, expect, it } from 'vitest';
import { tokenAdvantages, tokenFields } from './sample-tokens';

const pieces = ['', 'It', ' is', ' 7', '\u00e9'];
/** Token 4 is the first byte of two, and decodes alone to the replacement character. */
const decode = (tokens: Int32Array) => [...tokens].map((token, i) => (token === 4 ? (tokens[i + 1] === 5 ? '\u00e9' : '\ufffd') : token === 5 ? '' : pieces[token])).join('');
const completion = (tokens: number[], more: Partial<Completion> = {}): Completion => ({ requestId: 'a', index: 0, tokens: Int32Array.from(tokens), logps: Float32Array.from(tokens, (_, i) => -0.12345 * i), text: decode(Int32Array.from(tokens)), finishReason: 'stop', version: 0, ...more });

describe('what is said of a completion\'s tokens', () => {
  it('is a log-prob and a length each; a character of two tokens counts for the second', () => {
    expect(tokenFields(completion([1, 2, 3, 0]), { decode })).toEqual({ token_lengths: [2, 3, 2, 0], logps: [0, -0.123, -0.247, -0.37] });
    expect(tokenFields(completion([1, 4, 5]), { decode })['token_lengths']).toEqual([2, 0, 1]);
  });

  it('leaves out what is not known', () => {
    expect(tokenFields(completion([1, 2], { logps: null }), {})).toEqual({});
    expect(tokenFields(completion([1], { logps: Float32Array.of(NaN) }), { advantages: [1 / 3] })).toEqual({ logps: [null], advantages: [0.333] });
    expect(tokenFields(completion([1, 2], { text: 'It was cleaned' }), { decode })).not.toHaveProperty('token_lengths');
    expect(tokenFields(completion([1, 2, 3], { text: 'It is' }), { decode })['token_lengths']).toEqual([2, 3, 2]); // cut before a stop string
  });
});

describe('advantages by token', () => {
  const trajectory = (tokens: number[], prompt: number) => ({ tokens: Int32Array.from(tokens), trainable: Uint8Array.from(tokens, (_, i) => (i < prompt ? 0 : 1)) }) as ScoredTrajectory;
  /** A shared prompt [9, 9], then completions [1, 2] and [3]; a completion [8] between them is not trained on. */
  const groups = [[trajectory([9, 9, 1, 2], 2), trajectory([9, 9, 8], 2), trajectory([9, 9, 3], 2)]];
  const batch = (advantages?: number[]): TokenBatch => ({
    tokens: Int32Array.of(9, 9, 1, 2, 3), offsets: Int32Array.of(0, 2, 4, 5), prefixOf: Int32Array.of(-1, 0, 0), actionIndex: Int32Array.of(2, 3, 4),
    columns: advantages ? { advantages: Float32Array.from(advantages) } : {}, normalizer: { tokens: 3, sequences: 2 },
  });

  it('are those of its sequence in the batch, where they differ', () => {
    expect(tokenAdvantages(batch([0.5, -0.5, 2]), groups)).toEqual([[[0.5, -0.5], undefined, undefined]]);
    expect(tokenAdvantages(batch([1, 1, 1]), groups)).toEqual([[undefined, undefined, undefined]]);
    expect(tokenAdvantages(batch(), groups)).toEqual([[undefined, undefined, undefined]]);
  });
});
