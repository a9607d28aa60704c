/**
 * Numbers that look random and are a function of the seed.
 * @example
 * const random = randomNumbers(1);
 * random(-3, 0);
 */
export function randomNumbers(seed: number): (low: number, high: number) => number {
  let state = (Math.imul(seed + 1, 0x9e3779b1) ^ 0x5bd1e995) >>> 0;
  return (low, high) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    let mixed = state ^ (state >>> 15);
    mixed = Math.imul(mixed, 0x2c1b3c6d) >>> 0;
    return Math.fround(low + ((mixed ^ (mixed >>> 13)) >>> 0) / 2 ** 32 * (high - low));
  };
}

/** The numbers 0 … n - 1 in another order, a function of the seed. */
export function shuffled(n: number, seed: number): number[] {
  const random = randomNumbers(seed);
  const order = Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1; i > 0; i--) {
    const j = Math.min(i, Math.floor(random(0, i + 1)));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}
