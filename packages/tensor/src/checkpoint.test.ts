import { beforeAll, describe, expect, it } from 'vitest';
import { checkpoint, linear, memory, record, residualAdd, rmsNorm, scalar, selectBackend, square, sum, swiglu, tensor, tidy, variable, zerosLike } from './index';
import type { Tensor, Variable } from './index';
import { testBackends, testNumbers } from './testing';

function parameter(shape: number[], seed: number, trainable = true): Variable {
  const count = shape.reduce((a, b) => a * b, 1);
  const initial = tensor(Float32Array.from(testNumbers(count, seed), (v) => v / 4), shape);
  const made = variable(initial, trainable);
  initial.dispose();
  return made;
}

const [rows, width, inner, depth] = [12, 8, 32, 6];

/** Blocks of a decoder without its attention. */
function stack(trainable = true) {
  const blocks = Array.from({ length: depth }, (_, i) => ({
    norm: parameter([width], 10 * i, trainable), gate: parameter([inner, width], 10 * i + 1, trainable), up: parameter([inner, width], 10 * i + 2, trainable), down: parameter([width, inner], 10 * i + 3, trainable),
  }));
  const block = (i: number) => (x: Tensor) => {
    const h = rmsNorm(x, blocks[i].norm, 1e-5);
    return residualAdd(x, linear(swiglu(linear(h, blocks[i].gate), linear(h, blocks[i].up)), blocks[i].down));
  };
  return { parameters: blocks.flatMap((b) => Object.values(b)), block };
}

function run(x: Tensor, block: (i: number) => (x: Tensor) => Tensor, checkpoints: boolean) {
  const before = memory().numBytes;
  const tape = record(() => {
    let h = x.clone();
    for (let i = 0; i < depth; i++) h = tidy(() => (checkpoints ? checkpoint(block(i), h) : block(i)(h)));
    return [sum(square(h))];
  });
  let peak = memory().numBytes - before;
  const afterForward = peak;
  const gradients = new Map<number, Float32Array>();
  const one = scalar(1);
  tape.backward([one], (v, gradient) => {
    peak = Math.max(peak, memory().numBytes - before);
    gradients.set(v.id, Float32Array.from(gradient.dataSync()));
    gradient.dispose();
  });
  one.dispose();
  return { gradients, afterForward, peak };
}

describe.each(await testBackends('cpu', 'wasm', 'native'))('gradient checkpointing on %s', (backend) => {
  beforeAll(async () => void (await selectBackend(backend)));

  it('gives the very gradients of keeping everything, from less memory, and leaves nothing behind', () => {
    const { parameters, block } = stack();
    const x = parameter([rows, width], 99);
    const before = memory();
    const kept = run(x, block, false);
    const recomputed = run(x, block, true);
    expect(kept.gradients.size).toBe(parameters.length + 1);
    for (const p of [...parameters, x]) expect(recomputed.gradients.get(p.id)).toEqual(kept.gradients.get(p.id));
    // A block keeps its input alone: [12, 8] floats, and the loss a copy more.
    expect(recomputed.afterForward).toBeLessThan(kept.afterForward / 4);
    expect(recomputed.peak).toBeLessThan(kept.peak / 2);
    expect(memory().numTensors).toBe(before.numTensors);
    expect(memory().numBytes).toBe(before.numBytes);
    for (const p of [...parameters, x]) p.dispose();
  });

  it('computes nothing again where nothing is trained', () => {
    const { parameters, block } = stack(false);
    const x = parameter([rows, width], 99, false);
    let calls = 0;
    const { gradients } = run(x, (i) => (h) => (calls++, block(i)(h)), true);
    expect([gradients.size, calls]).toEqual([0, depth]);
    for (const p of [...parameters, x]) p.dispose();
  });

  it('nests, differentiates what is used twice, and gives zeros where nothing depends on it', () => {
    const [w, unused] = [parameter([4, 4], 1), parameter([3, 4], 2)];
    const body = (h: Tensor) => linear(linear(h, w), w);
    const gradientOf = (forward: (h: Tensor) => Tensor) => {
      const found = new Map<number, number[]>();
      const tape = record(() => [sum(square(forward(unused)))]);
      const one = scalar(1);
      tape.backward([one], (v, gradient) => {
        found.set(v.id, [...gradient.dataSync()]);
        gradient.dispose();
      });
      one.dispose();
      return found;
    };
    const before = memory().numTensors;
    expect(gradientOf((h) => checkpoint((g) => checkpoint(body, linear(g, w)), h))).toEqual(gradientOf((h) => body(linear(h, w))));
    expect(gradientOf((h) => checkpoint((g) => linear(zerosLike(g), w), h)).get(unused.id)).toEqual(new Array(unused.size).fill(0));
    expect(memory().numTensors).toBe(before);
    for (const p of [w, unused]) p.dispose();
  });

  it('is the body itself outside a recording, and a tape that is thrown away frees it', () => {
    const { parameters, block } = stack();
    const x = parameter([rows, width], 99);
    const [plain, wrapped] = [(h: Tensor) => block(0)(h), (h: Tensor) => checkpoint(block(0), h)].map((f) => tidy(() => f(x)).dataSync());
    expect(wrapped).toEqual(plain);
    const numTensors = memory().numTensors;
    expect(() => record(() => [checkpoint(() => { throw new Error('no'); }, x)])).toThrow('no');
    record(() => [checkpoint(block(0), x)]).dispose();
    expect(memory().numTensors).toBe(numTensors);
    for (const p of [...parameters, x]) p.dispose();
  });
});
