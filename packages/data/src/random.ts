/** Mixes integers into one 32-bit hash (the finaliser of MurmurHash3 over each in turn): the same numbers always give the same hash. */
export function hash32(...numbers: readonly number[]): number {
  let h = 0x9e3779b9;
  for (const number of numbers) {
    // both halves of the number count, so that integers beyond 2^32 differ
    for (const half of [number >>> 0, Math.floor(number / 4294967296) >>> 0]) {
      h ^= half;
      h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
      h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
      h ^= h >>> 16;
      h = (h + 0x9e3779b9) | 0;
    }
  }
  return h >>> 0;
}

/** A small generator of pseudo-random numbers (sfc32), determined by its seed and stream: what procedural data and shuffles draw from. */
export class Random {
  private a: number;
  private b: number;
  private c: number;
  private counter = 1;

  constructor(seed: number, ...stream: readonly number[]) {
    this.a = hash32(seed, ...stream, 1);
    this.b = hash32(seed, ...stream, 2);
    this.c = hash32(seed, ...stream, 3);
    for (let i = 0; i < 12; i++) this.uint32();
  }

  /** 0 .. 2^32 − 1 */
  uint32(): number {
    const t = (((this.a + this.b) | 0) + this.counter) | 0;
    this.counter = (this.counter + 1) | 0;
    this.a = this.b ^ (this.b >>> 9);
    this.b = (this.c + (this.c << 3)) | 0;
    this.c = (((this.c << 21) | (this.c >>> 11)) + t) | 0;
    return t >>> 0;
  }

  /**
   * An integer in [low, high], each as likely.
   * @throws RangeError when there is none
   */
  int(low: number, high: number): number {
    const span = high - low + 1;
    if (!(span >= 1)) throw new RangeError(`there is no integer from ${low} to ${high}`);
    const limit = Math.floor(4294967296 / span) * span; // draws beyond it would favour small numbers
    for (;;) {
      const draw = this.uint32();
      if (draw < limit) return low + (draw % span);
    }
  }

  /** One of the items, each as likely. */
  pick<T>(items: readonly T[]): T {
    return items[this.int(0, items.length - 1)];
  }

  /** 0 .. size − 1 in random order (Fisher–Yates). */
  permutation(size: number): Int32Array {
    const order = Int32Array.from({ length: size }, (_, i) => i);
    for (let i = size - 1; i > 0; i--) {
      const j = this.int(0, i);
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order;
  }
}
