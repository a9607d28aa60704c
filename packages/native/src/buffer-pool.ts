import type { NativeBinding } from './binding';

/** Below this many floats an array of V8's own is cheaper than anything pooled. */
const SMALL = 256;
/** After this many requests, buffers that lay idle all the while are freed: about a hundred training steps, or a few hundred tokens of decoding. */
const REQUESTS_BETWEEN_TRIMS = 300_000;
/** After this long without a request, all idle buffers are freed. */
const IDLE_MILLISECONDS = 60_000;

/** Idle and used buffers together may take this many times what was ever in use at once, and at least the floor below. */
const SLACK = 1.25;
const FLOOR_BYTES = 256 * 2 ** 20;
/** Once that much is taken, a request is also served by an idle buffer of another class, of up to this many times its size: gradients take the place of the activations that they came from. */
const BORROW = 2;
/** Larger buffers are few, and who needs one next would miss it: they are not borrowed. */
const LARGEST_BORROWED = 16 * 2 ** 20;

interface SizeClass {
  free: ArrayBuffer[];
  /** The number of the request that used it last. */
  usedAt: number;
  /** The fewest free buffers since the last trim: that many were not needed. */
  unused: number;
}

/** What the pool holds, in bytes. */
export interface PoolStatistics {
  inUse: number;
  free: number;
}

/**
 * Buffers that Rust allocates, aligned to cache lines, and that return here when the last tensor on them goes. First touch of fresh memory is slow (on some virtual machines slower than the kernel that does it), so they are used again,
 * in size classes that are at most a quarter too large.
 *
 * A buffer that left the backend (read out, or taken over by another tensor) is forgotten: it belongs to whoever holds it, and the garbage collector frees it.
 */
export class BufferPool {
  private readonly classes = new Map<number, SizeClass>();
  /** Buffers handed out and not escaped, with the size of the class that was asked for. Weak: a tensor that is never disposed keeps its buffer alive itself. */
  private readonly owned = new WeakMap<ArrayBufferLike, number>();
  private requests = 0;
  private inUse = 0; // in the sizes that were asked for
  private peak = 0; // of `inUse`
  private free = 0;
  private total = 0; // of buffers handed out or idle, in their own sizes
  private idleTimer: NodeJS.Timeout | undefined;
  private requestsAtTimer = 0;

  constructor(
    private readonly binding: NativeBinding,
    private readonly requestsBetweenTrims = REQUESTS_BETWEEN_TRIMS,
  ) {}

  /** `n` floats of arbitrary contents. */
  take(n: number): Float32Array {
    if (n < SMALL) return new Float32Array(n);
    const size = classSize(n * 4);
    this.requests++;
    if (this.requests % this.requestsBetweenTrims === 0) this.trimUnused();
    const buffer = this.idle(size) ?? (this.fits(size) ? undefined : this.borrowed(size)) ?? this.fresh(size);
    this.inUse += size;
    this.peak = Math.max(this.peak, this.inUse);
    this.owned.set(buffer, size);
    return new Float32Array(buffer, 0, n);
  }

  /** Takes back an array of `take`; any other array is ignored. */
  give(values: Float32Array): void {
    const asked = this.owned.get(values.buffer);
    if (asked === undefined) return;
    this.owned.delete(values.buffer);
    this.inUse -= asked;
    const size = values.buffer.byteLength;
    let found = this.classes.get(size);
    if (!found) this.classes.set(size, (found = { free: [], usedAt: 0, unused: 0 }));
    found.usedAt = this.requests;
    found.free.push(values.buffer as ArrayBuffer);
    this.free += size;
    this.watchIdleness();
  }

  /** Never takes this buffer back: somebody outside holds it. */
  escape(buffer: ArrayBufferLike | undefined): void {
    const size = buffer && this.owned.get(buffer);
    if (size === undefined) return;
    this.owned.delete(buffer as ArrayBufferLike);
    this.inUse -= size;
    this.total -= buffer!.byteLength;
  }

  /** Frees every idle buffer at once. */
  trim(): void {
    for (const [size, found] of this.classes) this.shrink(size, found, 0);
    this.classes.clear();
  }

  /** Frees what is idle and stops watching. */
  dispose(): void {
    clearTimeout(this.idleTimer);
    this.idleTimer = undefined;
    this.trim();
  }

  statistics(): PoolStatistics {
    return { inUse: this.inUse, free: this.free };
  }

  /** An idle buffer of a class. */
  private idle(size: number): ArrayBuffer | undefined {
    const found = this.classes.get(size);
    const buffer = found?.free.pop();
    if (!buffer || !found) return undefined;
    this.free -= size;
    found.usedAt = this.requests;
    if (found.free.length < found.unused) found.unused = found.free.length;
    return buffer;
  }

  /** The idle buffer of the next larger class that has one, if it is not much larger. */
  private borrowed(size: number): ArrayBuffer | undefined {
    if (size > LARGEST_BORROWED) return undefined;
    let best = Infinity;
    for (const [other, { free }] of this.classes) if (other > size && other <= BORROW * size && other < best && free.length > 0) best = other;
    return best === Infinity ? undefined : this.idle(best);
  }

  private fresh(size: number): ArrayBuffer {
    this.makeRoom(size);
    const buffer = this.allocate(size);
    this.total += size;
    return buffer;
  }

  private limit(size: number): number {
    return Math.max(FLOOR_BYTES, SLACK * Math.max(this.peak, this.inUse + size));
  }

  private fits(size: number): boolean {
    return this.total + size <= this.limit(size);
  }

  /** Where batches vary in size, other classes would pile up idle: those used longest ago make room for a new buffer. */
  private makeRoom(size: number): void {
    if (this.fits(size)) return;
    const limit = this.limit(size);
    for (const [idleSize, idle] of [...this.classes].sort((a, b) => a[1].usedAt - b[1].usedAt)) {
      const excess = this.total + size - limit;
      if (excess <= 0) return;
      this.shrink(idleSize, idle, Math.max(0, idle.free.length - Math.ceil(excess / idleSize)));
    }
  }

  private allocate(size: number): ArrayBuffer {
    try {
      return this.binding.allocate(size);
    } catch (error) {
      if (this.free === 0) throw error;
      this.trim(); // memory is short: give back what lies idle, and try once more
      return this.binding.allocate(size);
    }
  }

  private trimUnused(): void {
    for (const [size, found] of this.classes) {
      this.shrink(size, found, found.free.length - found.unused);
      found.unused = found.free.length;
    }
    this.peak = this.inUse;
  }

  private shrink(size: number, found: SizeClass, left: number): void {
    while (found.free.length > left) {
      this.binding.release(found.free.pop()!);
      this.free -= size;
      this.total -= size;
    }
    found.unused = Math.min(found.unused, left);
  }

  private watchIdleness(): void {
    if (this.idleTimer) return;
    this.requestsAtTimer = this.requests;
    this.idleTimer = setTimeout(() => {
      this.idleTimer = undefined;
      if (this.requests === this.requestsAtTimer) this.trim();
      else if (this.free > 0) this.watchIdleness();
    }, IDLE_MILLISECONDS);
    this.idleTimer.unref();
  }
}

/** Rounded up to a multiple of a quarter of the power of two below. */
export function classSize(bytes: number): number {
  const step = 2 ** Math.max(8, Math.floor(Math.log2(bytes)) - 2);
  return Math.ceil(bytes / step) * step;
}
