import { expect, it } from 'vitest';
import { RowAllocator } from './row-allocator';

it('hands out ranges that never overlap, and merges what comes back', () => {
  const rows = new RowAllocator(100);
  const taken: { start: number; length: number }[] = [];
  let state = 1;
  const random = (n: number) => (state = (state * 48271) % 2147483647) % n;
  for (let i = 0; i < 2000; i++) {
    if (random(2) && taken.length > 0) {
      const [range] = taken.splice(random(taken.length), 1);
      rows.release(range.start, range.length);
    } else {
      const length = 1 + random(20);
      const start = rows.allocate(length);
      if (start < 0) continue;
      expect(start + length).toBeLessThanOrEqual(100);
      for (const other of taken) expect(start + length <= other.start || other.start + other.length <= start).toBe(true);
      taken.push({ start, length });
    }
  }
  for (const range of taken) rows.release(range.start, range.length);
  expect(rows.allocate(100)).toBe(0);
  expect(rows.allocate(1)).toBe(-1);
  rows.grow(103);
  expect(rows.allocate(3)).toBe(100);
});
