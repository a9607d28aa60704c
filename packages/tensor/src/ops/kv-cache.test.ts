import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cachedAttention, cacheRowBytes, cacheWrite, causalAttention, emptyCache, gather, matmulPrecision, memory, selectBackend, setMatmulPrecision, tensor, tensor1d, zeros } from '../index';
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

describe.skipIf((await testBackends('native')).length === 0)('a cache of bfloat16', () => {
  let before: ReturnType<typeof matmulPrecision>;
  beforeAll(async () => {
    await selectBackend('native');
    before = matmulPrecision();
    setMatmulPrecision('bf16');
  });
  afterAll(() => setMatmulPrecision(before));

  const make = (shape: number[], seed: number) => tensor(Float32Array.from(testNumbers(shape.reduce((a, b) => a * b), seed)), shape);
  const places = Int32Array.from({ length: 70 }, (_, t) => t);

  it.each([[6, 2, 4], [3, 1, 64], [2, 2, 38], [2, 1, 7]])('gives what training gives, to the bit: %i query heads, %i key heads of %i', (heads, kvHeads, dim) => {
    const tensors = memory().numTensors;
    const [q, k, v] = [make([70, heads, dim], 1), make([70, kvHeads, dim], 2), make([70, kvHeads, dim], 3)];
    const [cacheK, cacheV] = [k, v].map((values) => {
      const empty = emptyCache(70, kvHeads * dim, dim);
      const filled = cacheWrite(empty, values, places);
      empty.dispose();
      return filled;
    });
    expect(cacheK.dtype).toBe(dim % 2 === 0 ? 'int32' : 'float32');
    expect(4 * cacheK.size).toBe(70 * cacheRowBytes(kvHeads * dim, dim));
    const layout = { offsets: Int32Array.of(0, 70), prefixOf: Int32Array.of(-1) };
    const trained = causalAttention(q, k, v, layout, { scale: 0.3 });
    const sampled = cachedAttention(q, cacheK, cacheV, Int32Array.from([...places].flatMap((t) => [0, 0, 0, t + 1])), { scale: 0.3 });
    expect(sampled.dataSync()).toEqual(trained.dataSync());
    setMatmulPrecision('fp32');
    const exact = causalAttention(q, k, v, layout, { scale: 0.3 });
    setMatmulPrecision('bf16');
    expect(exact.dataSync()).not.toEqual(trained.dataSync());
    exact.dataSync().forEach((value, i) => expect(Math.abs(trained.dataSync()[i] - value)).toBeLessThan(0.02));
    [q, k, v, cacheK, cacheV, trained, sampled, exact].forEach((x) => x.dispose());
    expect(memory().numTensors).toBe(tensors);
  });

  it('takes rows of another cache as they are, and refuses what does not fit', () => {
    const written = cacheWrite(emptyCache(4, 8, 4), make([2, 2, 4], 1), Int32Array.of(3, 1));
    const copied = cacheWrite(emptyCache(4, 8, 4), gather(written, tensor1d([1, 3], 'int32')), Int32Array.of(0, 2));
    const [from, to] = [written, copied].map((x) => x.dataSync());
    expect([...to]).toEqual([...from.slice(4, 8), 0, 0, 0, 0, ...from.slice(12, 16), 0, 0, 0, 0]);
    expect(from.slice(4, 8).every((word) => word !== 0)).toBe(true);
    expect(() => cacheWrite(copied, make([1, 3, 4], 1), Int32Array.of(0))).toThrow(/do not fit 1 rows of 8/);
    expect(() => cacheWrite(copied, make([1, 2, 4], 1), Int32Array.of(4))).toThrow(/row 4 is outside/);
    expect(() => cachedAttention(make([1, 2, 4], 1), copied, zeros([4, 8]), Int32Array.of(0, 0, 0, 1), { scale: 1 })).toThrow(/do not fit/);
    expect(() => emptyCache(4, 9, 4)).toThrow(/rows of 9 are not whole heads of 4/);
  });
});
