import { describe, expect, it } from 'vitest';
import { topLogps } from './top-logps';

describe('topLogps', () => {
  const logits = Float32Array.of(0.5, 2, -1, 2, 0, 1);

  it.each([1, 0.5, 2])('gives the likeliest tokens with log softmax at temperature %d', (temperature) => {
    const { tokens, logps } = topLogps(logits, 4, temperature);
    expect([...tokens]).toEqual([1, 3, 5, 0]);
    const total = logits.reduce((sum, z) => sum + Math.exp(z / temperature), 0);
    tokens.forEach((id, i) => expect(logps[i]).toBeCloseTo(Math.log(Math.exp(logits[id] / temperature) / total), 6));
  });

  it('gives all of a vocabulary smaller than k', () => {
    const { tokens, logps } = topLogps(logits, 20, 1);
    expect(tokens).toHaveLength(6);
    expect(logps.reduce((sum, logp) => sum + Math.exp(logp), 0)).toBeCloseTo(1, 6);
  });
});
