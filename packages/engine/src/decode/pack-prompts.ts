import type { SharedPrefix } from '../shared-prefixes';

/** Prompts as one packed pass computes them, and where their keys and values go in the cache. */
export interface PackedPrompts {
  tokens: Int32Array; // [T]
  positions: Int32Array; // [T]
  offsets: Int32Array; // [S + 1]
  prefixOf: Int32Array; // [S]
  /** Cache row of each token of each prompt, `[R]`. */
  rows: Int32Array;
  /** Computed token that each of those rows is filled from, `[R]`; null where it is the one at the same place. */
  source: Int32Array | null;
  /** Last token of each prompt, `[G]`. */
  last: Int32Array;
}

/**
 * Packs prompts so that a beginning that several share is computed once: as a sequence of its own, from which the rest of each goes on.
 * Every prompt still gets all of its rows in the cache, one after the other from its start.
 */
export function packPrompts(prompts: readonly { prompt: Int32Array; start: number }[], groups: readonly SharedPrefix[]): PackedPrompts {
  const sequences: { tokens: Int32Array; first: number; prefix: number }[] = [];
  const parts: { shared: number; own: number; length: number }[] = []; // of each prompt: its sequences, and how long the shared one is
  for (const { length, members } of groups) {
    const shared = length > 0 ? sequences.push({ tokens: prompts[members[0]].prompt.subarray(0, length), first: 0, prefix: -1 }) - 1 : -1;
    for (const m of members) parts[m] = { shared, own: sequences.push({ tokens: prompts[m].prompt.subarray(length), first: length, prefix: shared }) - 1, length };
  }
  const offsets = new Int32Array(sequences.length + 1);
  sequences.forEach(({ tokens }, s) => (offsets[s + 1] = offsets[s] + tokens.length));
  const tokens = new Int32Array(offsets[sequences.length]);
  const positions = new Int32Array(tokens.length);
  sequences.forEach((sequence, s) => {
    tokens.set(sequence.tokens, offsets[s]);
    for (let t = 0; t < sequence.tokens.length; t++) positions[offsets[s] + t] = sequence.first + t;
  });
  const total = prompts.reduce((sum, { prompt }) => sum + prompt.length, 0);
  const rows = new Int32Array(total);
  const source = new Int32Array(total);
  let r = 0;
  prompts.forEach(({ prompt, start }, i) => {
    const { shared, own, length } = parts[i];
    for (let t = 0; t < prompt.length; t++, r++) {
      rows[r] = start + t;
      source[r] = t < length ? offsets[shared] + t : offsets[own] + t - length;
    }
  });
  return { tokens, positions, offsets, prefixOf: Int32Array.from(sequences, ({ prefix }) => prefix), rows, source: source.every((from, i) => from === i) ? null : source, last: Int32Array.from(parts, ({ own }) => offsets[own + 1] - 1) };
}
