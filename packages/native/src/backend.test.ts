import { add, engine, memory, ones, scalar, setBackend, slice, tensor, tensor2d, tidy, variable } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { NativeBackend, nativeBackend, nativeStatus, registerNativeBackend } from './index';
import { BufferPool, classSize } from './buffer-pool';
import { loadNative } from './binding';
import { EspalierAdamWTogether, EspalierAddInPlace, EspalierLinear, EspalierZerosTogether } from './fused-kernels';

const status = nativeStatus();
if (!status.available) console.warn(`not checked here: ${status.reason}`);

const run = <T = Tensor>(name: string, inputs: Record<string, Tensor>, attrs = {}) => engine().runKernel(name, inputs, attrs) as unknown as T;

describe('size classes', () => {
  it('are at most a quarter too large', () => {
    for (let bytes = 1024; bytes < 1e9; bytes = Math.ceil(bytes * 1.37)) {
      const size = classSize(bytes);
      expect(size).toBeGreaterThanOrEqual(bytes);
      expect(size).toBeLessThanOrEqual(bytes * 1.25 + 256);
      expect(classSize(size)).toBe(size);
    }
  });
});

describe.skipIf(!status.available)('the backend native', () => {
  let backend: NativeBackend;
  beforeAll(async () => {
    expect(registerNativeBackend()).toBe(true);
    expect(registerNativeBackend()).toBe(true); // twice does no harm
    await setBackend('native');
    backend = nativeBackend()!;
  });

  it('takes buffers back when the last tensor on them goes', () => {
    backend.trim();
    const [a, b] = [ones([100, 100]), ones([100, 100])];
    const start = backend.pool.statistics();
    const sum = add(a, b);
    const alias = sum.clone();
    const address = backend.floats(sum).buffer;
    expect(backend.pool.statistics().inUse).toBe(start.inUse + classSize(40_000));
    sum.dispose();
    expect(backend.pool.statistics().inUse).toBe(start.inUse + classSize(40_000)); // the clone holds it
    alias.dispose();
    expect(backend.pool.statistics()).toEqual({ inUse: start.inUse, free: start.free + classSize(40_000) });
    const again = add(a, b);
    expect(backend.floats(again).buffer).toBe(address);
    [a, b, again].forEach((x) => x.dispose());
  });

  it('never recycles what was read out', () => {
    const [a, b] = [ones([64, 64]), ones([64, 64])];
    const sum = add(a, b);
    const read = sum.dataSync();
    sum.dispose();
    const others = Array.from({ length: 8 }, () => add(a, scalar(41)));
    expect(read.every((x) => x === 2)).toBe(true);
    [a, b, ...others].forEach((x) => x.dispose());
  });

  it("never touches a caller's array", () => {
    const values = new Float32Array(4096).fill(7);
    const mine = tensor(values, [64, 64]);
    mine.dispose();
    const others = Array.from({ length: 8 }, () => add(ones([64, 64]), scalar(1)));
    expect(values.every((x) => x === 7)).toBe(true);
    others.forEach((x) => x.dispose());
  });

  it('copies slices, so that the original may go', () => {
    const x = add(ones([100, 64]), scalar(1));
    const part = slice(x, [10, 0], [20, 64]);
    x.dispose();
    const others = Array.from({ length: 8 }, () => add(ones([100, 64]), scalar(5)));
    expect(part.dataSync().every((value) => value === 2)).toBe(true);
    [part, ...others].forEach((tensor) => tensor.dispose());
  });

  it('leaves nothing behind', () => {
    const work = () => tidy(() => void add(add(ones([300, 300]), scalar(2)), ones([300])).dataSync());
    work();
    const [tensors, inUse] = [memory().numTensors, backend.pool.statistics().inUse];
    for (let i = 0; i < 20; i++) work();
    expect(memory().numTensors).toBe(tensors);
    expect(backend.pool.statistics().inUse).toBe(inUse);
  });

  it('packs a weight at its third use by many rows, at the first by few, and frees it with its data', () => {
    const [w, x, few] = [tensor2d(Array.from({ length: 40 }, () => Array.from({ length: 30 }, () => 0.5))), ones([200, 30]), ones([2, 30])];
    const before = backend.nativeMemory().packedWeights;
    const outputs = [run(EspalierLinear, { x, w }), run(EspalierLinear, { x, w })];
    expect(backend.nativeMemory().packedWeights).toBe(before);
    outputs.push(run(EspalierLinear, { x, w }));
    expect(backend.nativeMemory().packedWeights).toBeGreaterThan(before);
    w.dispose();
    expect(backend.nativeMemory().packedWeights).toBe(before);
    const other = ones([40, 30]);
    outputs.push(run(EspalierLinear, { x: few, w: add(other, scalar(-0.5)) }));
    expect(backend.nativeMemory().packedWeights).toBeGreaterThan(before);
    for (const y of outputs) expect(y.dataSync().every((value) => value === 15)).toBe(true);
    [x, few, other, ...outputs].forEach((y) => y.dispose());
  });

  it('works in place for variables, and counts no tensor twice', () => {
    const make = (value: number) => add(ones([50, 20]), scalar(value - 1));
    const [param, other] = [2, 5].map((value) => variable(make(value)));
    const moments = run<Tensor[]>(EspalierZerosTogether, {}, { shapes: [[50, 20], [50, 20], [3], [50, 20], [50, 20]] });
    expect(moments.map((x) => x.dataSync().every((value) => value === 0))).toEqual([true, true, true, true, true]);
    expect(new Set(moments.map((x) => backend.floats(x).buffer)).size).toBe(1);
    const grad = make(1);
    const tensors = memory().numTensors;
    const values = backend.floats(param);
    const attrs = { params: [param, other], grads: [grad, grad], m: moments.slice(0, 2), v: moments.slice(3), learningRates: [0.1, 0], weightDecays: [0, 1], beta1: 0.9, beta2: 0.999, eps: 1e-8, step: 1, gradScale: 1 };
    expect(run<Tensor[]>(EspalierAdamWTogether, {}, attrs)).toEqual([]);
    expect(memory().numTensors).toBe(tensors);
    expect(backend.floats(param)).toBe(values);
    expect(values[0]).toBeCloseTo(1.9, 5);
    expect(backend.floats(other)[0]).toBe(5);
    expect(moments[1].dataSync()[999]).toBeCloseTo(0.1, 6);
    expect([...moments[2].dataSync()]).toEqual([0, 0, 0]);
    const summed = run(EspalierAddInPlace, { target: grad, value: grad.clone() }, { scale: 0 });
    expect(summed.dataSync()[0]).toBe(1);
    [param, other, grad, summed, ...moments].forEach((x) => x.dispose());
  });

  it('has more zeros together than one array may hold', () => {
    const tensors = memory().numTensors;
    const made = run<Tensor[]>(EspalierZerosTogether, {}, { shapes: [[200, 2 ** 20], [5], [90, 2 ** 20], [300, 2 ** 20], [7]] }); // 0.8, 0.4 and 1.2 GB, which cost nothing before they are written
    const arrays = made.map((x) => backend.floats(x));
    expect(arrays.map(({ length }) => length)).toEqual([200 * 2 ** 20, 5, 90 * 2 ** 20, 300 * 2 ** 20, 7]);
    expect(new Set(arrays.map(({ buffer }) => buffer)).size).toBe(4);
    expect([arrays[0].at(-1), arrays[2][0], arrays[3].at(-1), arrays[4][6]]).toEqual([0, 0, 0, 0]);
    made.forEach((x) => x.dispose());
    expect(memory().numTensors).toBe(tensors);
  });

  it('refuses sizes that do not fit, by name', () => {
    const binding = loadNative()!;
    const floats = (n: number) => new Float32Array(n);
    expect(() => binding.rmsNorm(floats(10), floats(5), floats(9), 2, 5, 1e-5)).toThrow(/y has 9 elements, 10 are needed/);
    expect(() => binding.gatherRows(floats(10), Int32Array.of(0, 5), floats(4), 5, 2)).toThrow(/id 5 is outside a table of 5 rows/);
    expect(() => binding.swiglu(floats(4), floats(3), floats(4))).toThrow(/up has 3/);
    const both = floats(8);
    expect(() => binding.gelu(both, both)).toThrow(/shares memory/);
    expect(() => binding.permute(floats(6), Int32Array.of(2, 3), Int32Array.of(0, 0), floats(6))).toThrow(/does not permute/);
    expect(() => binding.causalAttention(floats(8), floats(8), floats(8), Int32Array.of(0, 2), Int32Array.of(0), floats(8), floats(4), 2, 2, 2, 1, 0, false)).toThrow(/sequence 0 continues 0/);
    expect(() => binding.cachedAttention(floats(4), floats(8), floats(8), Int32Array.of(0, 1, 3, 9), floats(4), 2, 2, 2, 1, 0, 'fp32')).toThrow(/row 0: ranges/);
  });

  it('gives its memory back when it is disposed', () => {
    const binding = loadNative()!;
    const own = new NativeBackend(binding);
    const start = binding.allocatedBytes();
    const { info } = own.output([1000, 1000]);
    expect(binding.allocatedBytes()).toBeGreaterThanOrEqual(start + 4e6);
    own.disposeData(info.dataId);
    own.dispose();
    expect(binding.allocatedBytes()).toBe(start);
  });

  it('stays near what was in use at once, however sizes vary', () => {
    const binding = loadNative()!;
    const start = binding.allocatedBytes();
    const pool = new BufferPool(binding);
    for (let round = 0; round < 60; round++) {
      const held = Array.from({ length: 20 }, (_, i) => pool.take(1_000_000 + round * 100_000 + i));
      held.forEach((values) => pool.give(values));
      // The largest round uses 20 buffers of at most 28 MB.
      expect(pool.statistics().free).toBeLessThanOrEqual(1.25 * 20 * classSize(4 * (1_000_020 + round * 100_000)) + 256 * 2 ** 20);
    }
    pool.dispose();
    expect(binding.allocatedBytes()).toBe(start);
  });

  it('lets smaller requests use what lies idle, once enough is taken', () => {
    const binding = loadNative()!;
    const pool = new BufferPool(binding);
    const activations = Array.from({ length: 20 }, () => pool.take(6_000_000)); // 480 MB, beyond the floor
    const first = pool.take(4_000_000); // within the slack: a buffer of its own
    pool.give(first);
    activations.forEach((values) => pool.give(values));
    const taken = binding.allocatedBytes();
    const gradients = Array.from({ length: 21 }, () => pool.take(4_000_000));
    const beyond = taken + 1.25 * 20 * classSize(24_000_000) - 20 * classSize(24_000_000);
    expect(binding.allocatedBytes()).toBeLessThanOrEqual(beyond);
    expect(new Set(gradients.map(({ buffer }) => buffer)).size).toBe(21);
    expect(gradients.every(({ length }) => length === 4_000_000)).toBe(true);
    expect(pool.statistics().inUse).toBe(21 * classSize(16_000_000));
    gradients.forEach((values) => pool.give(values));
    const settled = binding.allocatedBytes();
    for (let step = 0; step < 3; step++) for (const [count, size] of [[20, 6_000_000], [21, 4_000_000]]) Array.from({ length: count }, () => pool.take(size)).forEach((values) => pool.give(values));
    expect(binding.allocatedBytes()).toBe(settled);
    pool.give(pool.take(1_000_000)); // much smaller: not one of these
    expect(binding.allocatedBytes()).not.toBe(settled);
    pool.dispose();
    expect(pool.statistics()).toEqual({ inUse: 0, free: 0 });
  });

  it('trims what lay idle between two trims', () => {
    const pool = new BufferPool(loadNative()!, 100);
    const held = Array.from({ length: 5 }, () => pool.take(10_000));
    held.forEach((values) => pool.give(values));
    expect(pool.statistics()).toEqual({ inUse: 0, free: 5 * classSize(40_000) });
    for (let i = 0; i < 201; i++) pool.give(pool.take(10_000)); // one of the five is in use at a time
    expect(pool.statistics().free).toBe(classSize(40_000));
    pool.dispose();
    expect(pool.statistics().free).toBe(0);
  });
});
