import { describe, expect, it } from 'vitest';
import { addInPlace, backendNames, linear, memory, mul, record, residualAdd, rmsNorm, selectBackend, sum, swiglu, tensor2d, tidy, variable, view, ones, add, square, grads, tensor1d, keep } from './index';
import type { Tensor } from './index';

describe('the tape', () => {
  it('x', async () => {
    await selectBackend('cpu');
    const w = variable(tensor2d([[1, 2], [3, 4]]));
    const before = memory().numTensors;
    const tape = record(() => { const x = linear(tensor2d([[1, -1], [2, 5]]), w); return [sum(square(residualAdd(x, linear(x, w))))]; });
    const got: Tensor[] = [];
    tape.backward([ones([])], (_v, g) => got.push(g));
    console.log(got[0].dataSync(), memory().numTensors - before);
  });
});
