import { expect, it, describe, beforeAll } from 'vitest';
import { selectBackend } from './backend';
import { testBackends } from './testing';
import { dispose, linear, memory, mul, ones, record, tensor2d, tokenOutputs, variable } from './index';

describe.each(await testBackends('cpu', 'native'))('frozen weights on %s', (backend) => {
  beforeAll(async () => void (await selectBackend(backend)));

  /** The gradients of what is trained, by size; the head or the projection before it is frozen. */
  function gradients(headTrains: boolean, projectionTrains: boolean) {
    const x = tensor2d(Float32Array.from({ length: 12 }, (_, i) => Math.sin(i)), [4, 3]);
    const made = [tensor2d(Float32Array.from({ length: 15 }, (_, i) => Math.cos(i)), [5, 3]), tensor2d(Float32Array.from({ length: 35 }, (_, i) => Math.sin(2 * i)), [7, 5])];
    const [projection, head] = [variable(made[0], projectionTrains), variable(made[1], headTrains)];
    const tape = record(() => [tokenOutputs(linear(x, projection), head, Int32Array.of(1, 6, 0, 3)).logps]);
    const dy = ones([4]);
    const seen = new Map<number, number[]>();
    tape.backward([dy], (parameter, gradient) => {
      seen.set(parameter.size, [...gradient.dataSync()]);
      gradient.dispose();
    });
    dispose([x, dy, projection, head, ...made]);
    return seen;
  }

  it('keep no input for the backward pass', () => {
    const x = tensor2d(new Float32Array(64 * 32).fill(0.5), [64, 32]);
    const bytesKept = (trains: boolean) => {
      const made = tensor2d(new Float32Array(32).fill(0.1), [1, 32]);
      const [scale, weight] = [variable(x, true), variable(made, trains)];
      const before = memory().numBytes;
      const tape = record(() => [linear(mul(scale, 2), weight)]);
      const kept = memory().numBytes - before;
      tape.dispose();
      dispose([scale, weight, made]);
      return kept;
    };
    expect(bytesKept(true) - bytesKept(false)).toBe(64 * 32 * 4);
    x.dispose();
  });

  it('get no gradient, and those that are trained the same as ever', () => {
    const before = memory().numTensors;
    const both = gradients(true, true);
    expect([...both.keys()].sort()).toEqual([15, 35]);
    expect([...gradients(false, true)]).toEqual([[15, both.get(15)]]);
    expect([...gradients(true, false)]).toEqual([[35, both.get(35)]]);
    expect(memory().numTensors).toBe(before);
  });
});
