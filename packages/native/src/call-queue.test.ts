import { add, clipByValue, concat, engine, exp, matMul, memory, mul, reshape, setBackend, slice, sum, tensor2d, tidy, tile, transpose } from '@tensorflow/tfjs-core';
import type { Tensor2D } from '@tensorflow/tfjs-core';
import * as fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import type { NativeBackend } from './index';
import { nativeBackend, nativeStatus, registerNativeBackend } from './index';
import type { NativeBinding } from './binding';
import { CallQueue } from './call-queue';
import { EspalierAddInPlace, EspalierLinear, EspalierRmsNorm } from './fused-kernels';

const status = nativeStatus();
if (!status.available) console.warn(`not checked here: ${status.reason}`);

/** A library that writes down what it is asked for. */
function recorder(): { queue: CallQueue; log: string[] } {
  const log: string[] = [];
  const note = (name: string) => (first?: unknown) => {
    if (first === 'bad') throw new Error('wrong lengths');
    log.push(`${name} ${String(first)}`);
    return name;
  };
  const library = Object.fromEntries(['gelu', 'swiglu', 'release', 'squaredSum', 'allocate'].map((name) => [name, note(name)]));
  return { queue: new CallQueue(library as unknown as NativeBinding), log };
}
const arg = (name: string) => name as unknown as Float32Array;

describe('calls that wait', () => {
  it('run at once outside, at the end inside, in their order', () => {
    const { queue, log } = recorder();
    queue.later.gelu(arg('a'), arg('y'));
    expect(log).toEqual(['gelu a']);
    const result = queue.together(() => {
      queue.later.gelu(arg('b'), arg('y'));
      queue.together(() => queue.later.swiglu(arg('c'), arg('u'), arg('y'))); // the outermost one ends it
      expect(log).toEqual(['gelu a']);
      return 7;
    });
    expect(result).toBe(7);
    expect(log).toEqual(['gelu a', 'gelu b', 'swiglu c']);
  });

  it('run before what looks at arrays, and not before what does not', () => {
    const { queue, log } = recorder();
    queue.together(() => {
      queue.later.gelu(arg('a'), arg('y'));
      expect(queue.now.allocate(64)).toBe('allocate');
      expect(queue.now.squaredSum([])).toBe('squaredSum');
      queue.later.gelu(arg('b'), arg('y'));
      queue.now.release(arg('buffer') as unknown as ArrayBuffer);
      queue.later.gelu(arg('c'), arg('y'));
      queue.settle();
      expect(log.at(-1)).toBe('gelu c');
    });
    expect(log).toEqual(['allocate 64', 'gelu a', 'squaredSum ', 'gelu b', 'release buffer', 'gelu c']);
  });

  it('do not wait without end', () => {
    const { queue, log } = recorder();
    queue.together(() => {
      for (let i = 0; i < 1000; i++) queue.later.gelu(arg(String(i)), arg('y'));
      expect(log.length).toBeGreaterThan(700);
    });
    expect(log).toEqual(Array.from({ length: 1000 }, (_, i) => `gelu ${i}`));
  });

  it('throw when they run, drop what follows, and leave the queue usable', () => {
    const { queue, log } = recorder();
    const run = () =>
      queue.together(() => {
        queue.later.gelu(arg('a'), arg('y'));
        queue.later.gelu(arg('bad'), arg('y'));
        queue.later.gelu(arg('never'), arg('y'));
      });
    expect(run).toThrow('wrong lengths');
    expect(log).toEqual(['gelu a']);
    queue.later.gelu(arg('b'), arg('y'));
    queue.together(() => queue.later.gelu(arg('c'), arg('y')));
    expect(log).toEqual(['gelu a', 'gelu b', 'gelu c']);
  });

  it('have run when the body throws', () => {
    const { queue, log } = recorder();
    const body = () => {
      queue.later.gelu(arg('a'), arg('y'));
      throw new Error('of the body');
    };
    expect(() => queue.together(body)).toThrow('of the body');
    expect(log).toEqual(['gelu a']);
  });
});

/** Of 20 x 20 tensors. */
const size = 20;
const square = (x: unknown) => x as Tensor2D;
const run = (name: string, inputs: object, attrs = {}) => engine().runKernel(name, inputs as never, attrs) as Tensor2D;

/** Kernels that wait, kernels of JavaScript, reads, and kernels that write in place: each makes one tensor of two. */
const operations: readonly ((a: Tensor2D, b: Tensor2D) => Tensor2D)[] = [
  (a, b) => square(add(a, b)),
  (a, b) => square(mul(a, b)),
  (a, b) => square(mul(matMul(a, b), 0.05)),
  (a, b) => run(EspalierLinear, { x: a, w: b }),
  (a, b) => run(EspalierRmsNorm, { x: a, weight: reshape(slice(b, [1, 0], [1, size]), [size]) }, { eps: 1e-3 }),
  (a) => square(transpose(a)),
  (a, b) => square(exp(clipByValue(mul(a, b), -1, 1))), // in JavaScript
  (a, b) => square(concat([slice(a, [5, 0], [12, size]), slice(b, [0, 0], [8, size])])), // in JavaScript
  (a, b) => square(add(a, sum(b).dataSync()[0] / 400)), // a read
  (a, b) => run(EspalierAddInPlace, { target: add(a, 0), value: b }, { scale: 0.5 }),
  (a) => run(EspalierAddInPlace, { target: add(a, 0), value: a }, { scale: 0.5 }),
  (a) => square(tile(sum(reshape(a, [2, 10, size]), 1), [10, 1])),
];

/** Runs a program: the tensor `which` of those that live is made anew. What it held before goes back to the pool while calls that read it may wait. */
function program(steps: readonly (readonly [number, number, number, number])[]): Float32Array[] {
  const live = Array.from({ length: 4 }, (_, t) => tensor2d(Float32Array.from({ length: size * size }, (_, i) => Math.sin(i * (t + 1)) / 2), [size, size]));
  for (const [operation, a, b, which] of steps) {
    const made = tidy(() => operations[operation](live[a], live[b]));
    live[which].dispose();
    live[which] = made;
  }
  return live.map((x) => {
    const values = (x.dataSync() as Float32Array).slice();
    x.dispose();
    return values;
  });
}

describe.skipIf(!status.available)('kernels together', () => {
  let backend: NativeBackend;
  beforeAll(async () => {
    registerNativeBackend();
    await setBackend('native');
    backend = nativeBackend()!;
  });

  it('give what they give one by one, to the bit, whatever lies between them', () => {
    const index = fc.nat({ max: 3 });
    const step = fc.tuple(fc.nat({ max: operations.length - 1 }), index, index, index);
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 40 }), (steps) => {
        const [tensors, inUse] = [memory().numTensors, backend.pool.statistics().inUse];
        const expected = program(steps);
        expect(backend.together(() => program(steps))).toEqual(expected);
        expect([memory().numTensors, backend.pool.statistics().inUse]).toEqual([tensors, inUse]);
      }),
      { numRuns: 200 },
    );
  });

  it('may free memory while they wait', () => {
    const make = () => tidy(() => square(add(mul(a, 2), 1)));
    const a = tensor2d(new Float32Array(size * size).fill(3), [size, size]);
    const results = backend.together(() => {
      const made = [make(), make()];
      backend.trim(); // the buffer of the product lies idle, and calls that write and read it wait
      return [...made, make()];
    });
    for (const x of results) expect(x.dataSync().every((value) => value === 7)).toBe(true);
    [a, ...results].forEach((x) => x.dispose());
  });
});
