/** The 32-bit finaliser of MurmurHash3: every input bit changes every output bit with a chance of one half. */
function mix(h: number): number {
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/**
 * A 32-bit seed that depends on all of its parts and on nothing else, so a resumed run draws what the uninterrupted one would have drawn.
 * @example
 * deriveSeed(args.seed, round, row);
 */
export function deriveSeed(...parts: readonly number[]): number {
  let h = 0x9e3779b9;
  for (const part of parts) {
    h = mix(h ^ (part >>> 0));
    h = mix((h + 0x9e3779b9) ^ Math.floor(part / 0x1_0000_0000));
  }
  return h;
}
