import { beforeAll, describe, expect, it } from 'vitest';
import { cachedAttention, cacheWrite, memory, selectBackend, tensor, zeros } from '../index';
import type { Tensor } from '../index';
import { attentionReference, testBackends, testNumbers } from '../testing';

const [heads, kvHeads, width, capacity] = [6, 2, 4, 12];

describe.each(await testBackends('cpu', 'wasm', 'native'))('the KV cache on %s', (backend) => {
  beforeAll(async () => void (await selectBackend(backend)));

  const filled = (seed: number) => tensor(Float32Array.from(testNumbers(capacity * kvHeads * width, seed)), [capacity, kvHeads * width]);

  it.each([0, 3])('attends to a shared prefix and its own rows, window %i', (window) => {
    const before = memory().numTensors;
    const [cacheK, cacheV] = [filled(1), filled(2)];
    const q = tensor(Float32Array.from(testNumbers(3 * heads * width, 3)), [3, heads, width]);
    const ranges = Int32Array.of(0, 4, 4, 2, 0, 4, 8, 1, 0, 0, 9, 3);
    const visible = [[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 8], [9, 10, 11]].map((rows) => (window > 0 ? rows.slice(-window) : rows));
    const out = cachedAttention(q, cacheK, cacheV, ranges, { scale: 0.5, window });
    const numbers = (x: Tensor) => Float64Array.from(x.dataSync());
    const expected = attentionReference(numbers(q), numbers(cacheK), numbers(cacheV), heads, kvHeads, width, visible, 0.5);
    out.dataSync().forEach((value, i) => expect(value).toBeCloseTo(expected[i], 5));
    [out, q, cacheK, cacheV].forEach((x) => x.dispose());
    expect(memory().numTensors).toBe(before);
  });

  it('writes rows, later ones last', () => {
    const before = memory().numTensors;
    const cache = zeros([4, 2]);
    const values = tensor([1, 2, 3, 4, 5, 6], [3, 1, 2]);
    const written = cacheWrite(cache, values, Int32Array.of(2, 0, 2));
    expect([...written.dataSync()]).toEqual([3, 4, 0, 0, 5, 6, 0, 0]);
    [cache, values, written].forEach((x) => x.dispose());
    expect(memory().numTensors).toBe(before);
    expect(() => cacheWrite(zeros([4, 2]), zeros([1, 2]), Int32Array.of(4))).toThrow(/row 4 is outside/);
  });
});
