import { beforeAll, describe, expect, it } from 'vitest';
import { selectBackend } from '../backend';
import { checkFusedCase, fusedCases, testBackend, testBackends } from '../testing';

import { grads, linear, matMul, memory, mul, sigmoid, swiglu, sum, tensor2d, tidy } from '../index';
import type { Tensor } from '../index';

describe.each(await testBackends('cpu', 'wasm', 'tensorflow', 'native'))('fused operations on %s, against float64', (backend) => {
  beforeAll(async () => void (await selectBackend(backend)));

  it.each(fusedCases.map((fused) => [fused.name, fused] as const))('%s', (_name, fused) => checkFusedCase(fused));
});

describe('fused operations', () => {
  it("have gradients under tfjs's own walker too, without leaks", async () => {
    await selectBackend(testBackend());
    const [x, w, u] = [tensor2d([[1, -2], [0.5, 3]]), tensor2d([[0.3, -1], [2, 0.7], [1, 1]]), tensor2d([[1, 2], [-1, 0.5], [0.2, -0.4]])];
    const before = memory().numTensors;
    const fused = (...[a, b, c]: Tensor[]) => sum(swiglu(linear(a, b), linear(a, c)));
    const plain = (...[a, b, c]: Tensor[]) => {
      const gate = matMul(a, b, false, true);
      return sum(mul(mul(gate, sigmoid(gate)), matMul(a, c, false, true)));
    };
    tidy(() => {
      const [ours, theirs] = [fused, plain].map((f) => grads(f as never)([x, w, u]));
      ours.forEach((gradient, i) => gradient.dataSync().forEach((value, j) => expect(value).toBeCloseTo(theirs[i].dataSync()[j], 5)));
    });
    expect(memory().numTensors).toBe(before);
  });
});
