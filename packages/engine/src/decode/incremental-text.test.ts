import { describe, expect, it } from 'vitest';
import { findStop, IncrementalText } from './incremental-text';

describe('IncrementalText', () => {
  it('gives what decoding everything gives, and holds back characters that are not whole', () => {
    const bytes = new TextEncoder().encode('naïve 🌿 text: 2 + 3 = 5');
    const decode = (tokens: Int32Array) => new TextDecoder().decode(Uint8Array.from(tokens));
    const tokens: number[] = [];
    const text = new IncrementalText(decode, tokens);
    for (const byte of bytes) {
      tokens.push(byte);
      const seen = text.update();
      expect(seen).not.toContain('\uFFFD');
      expect(decode(Int32Array.from(tokens)).startsWith(seen)).toBe(true);
    }
    expect(text.text).toBe('naïve 🌿 text: 2 + 3 = 5');
  });

  it('decodes a window, not everything, at each step', () => {
    let longest = 0;
    const decode = (tokens: Int32Array) => ((longest = Math.max(longest, tokens.length)), 'x'.repeat(tokens.length));
    const tokens: number[] = [];
    const text = new IncrementalText(decode, tokens);
    for (let i = 0; i < 500; i++) {
      tokens.push(1);
      text.update();
    }
    expect(text.text).toHaveLength(500);
    expect(longest).toBeLessThan(4);
  });
});

describe('findStop', () => {
  it('finds the first stop, also one that began before what is new', () => {
    expect(findStop('one\n\ntwo###', ['###', '\n\n'])).toBe(3);
    expect(findStop('ab###', ['###'], 4)).toBe(2);
    expect(findStop('###ab', ['###'], 4)).toBe(-1);
  });
});
