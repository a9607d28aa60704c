/** Hands out contiguous ranges of cache rows: first fit, neighbours merge when they are freed. */
export class RowAllocator {
  private free: { start: number; length: number }[];

  constructor(private size: number) {
    this.free = size > 0 ? [{ start: 0, length: size }] : [];
  }

  get capacity(): number {
    return this.size;
  }

  /** The start of a free range of `length` rows, or -1 when there is none. */
  allocate(length: number): number {
    if (length <= 0) return 0;
    const index = this.free.findIndex((range) => range.length >= length);
    if (index < 0) return -1;
    const range = this.free[index];
    const start = range.start;
    if (range.length === length) this.free.splice(index, 1);
    else this.free[index] = { start: start + length, length: range.length - length };
    return start;
  }

  release(start: number, length: number): void {
    if (length <= 0) return;
    let index = this.free.findIndex((range) => range.start > start);
    if (index < 0) index = this.free.length;
    this.free.splice(index, 0, { start, length });
    const merge = (at: number) => {
      const left = this.free[at];
      const right = this.free[at + 1];
      if (!left || !right || left.start + left.length !== right.start) return;
      this.free.splice(at, 2, { start: left.start, length: left.length + right.length });
    };
    merge(index);
    merge(index - 1);
  }

  /** Adds rows at the end. */
  grow(capacity: number): void {
    const added = capacity - this.size;
    if (added <= 0) return;
    const start = this.size;
    this.size = capacity;
    this.release(start, added);
  }
}
