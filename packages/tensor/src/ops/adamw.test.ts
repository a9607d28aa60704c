import { beforeAll, describe, expect, it } from 'vitest';
import { adamW, addInPlace, globalNorm, memory, selectBackend, tensor1d, variable, zeros, zerosTogether } from '../index';
import { testBackends, testNumbers } from '../testing';

describe.each(await testBackends('cpu', 'wasm', 'native'))('the optimiser on %s', (backend) => {
  beforeAll(async () => void (await selectBackend(backend)));

  it("takes torch.optim.AdamW's steps, as computed in float64", () => {
    const [n, steps] = [37, 4];
    const o = { learningRate: 0.01, beta1: 0.9, beta2: 0.95, eps: 1e-8, gradScale: 0.5 };
    const decays = [0.1, 0];
    const start = decays.map((_, i) => testNumbers(n, i));
    const own = (values: Float64Array | null) => {
      const initial = values ? tensor1d(Float32Array.from(values)) : zeros([n]);
      const result = variable(initial);
      initial.dispose();
      return result;
    };
    const params = start.map(own);
    const [m, v] = [decays.map(() => own(null)), decays.map(() => own(null))];
    const before = memory().numTensors;
    const [p64, m64, v64] = [start.map((s) => Float64Array.from(s)), decays.map(() => new Float64Array(n)), decays.map(() => new Float64Array(n))];
    for (let step = 1; step <= steps; step++) {
      const values = decays.map((_, i) => testNumbers(n, 10 * step + i));
      const grads = values.map((g) => tensor1d(Float32Array.from(g)));
      adamW({ params, grads, m, v, ...o, weightDecay: decays, step });
      grads.forEach((g) => g.dispose());
      decays.forEach((decay, i) => {
        for (let j = 0; j < n; j++) {
          const g = o.gradScale * values[i][j];
          p64[i][j] *= 1 - o.learningRate * decay;
          m64[i][j] = o.beta1 * m64[i][j] + (1 - o.beta1) * g;
          v64[i][j] = o.beta2 * v64[i][j] + (1 - o.beta2) * g * g;
          p64[i][j] -= ((o.learningRate / (1 - o.beta1 ** step)) * m64[i][j]) / (Math.sqrt(v64[i][j]) / Math.sqrt(1 - o.beta2 ** step) + o.eps);
        }
      });
    }
    params.forEach((param, i) => param.dataSync().forEach((value, j) => expect(value).toBeCloseTo(p64[i][j], 5)));
    m.forEach((moment, i) => moment.dataSync().forEach((value, j) => expect(value).toBeCloseTo(m64[i][j], 5)));
    expect(memory().numTensors).toBe(before);
    [...params, ...m, ...v].forEach((x) => x.dispose());
  });

  it('has zeros of many shapes', () => {
    const before = memory().numTensors;
    const made = zerosTogether([[2, 3], [], [0], [17]]);
    expect(made.map(({ shape }) => shape)).toEqual([[2, 3], [], [0], [17]]);
    expect(made.map((x) => [...x.dataSync()])).toEqual([6, 1, 0, 17].map((n) => new Array<number>(n).fill(0)));
    made.forEach((x) => x.dispose());
    expect(memory().numTensors).toBe(before);
  });

  it('measures the norm over all gradients', () => {
    const before = memory().numTensors;
    const tensors = [tensor1d([3, 0]), tensor1d([0, 4, 12])];
    expect(globalNorm(tensors)).toBeCloseTo(13, 5);
    expect(globalNorm([])).toBe(0);
    tensors.forEach((x) => x.dispose());
    expect(memory().numTensors).toBe(before);
  });

  it('accumulates', () => {
    const before = memory().numTensors;
    const [target, value] = [tensor1d([1, 2]), tensor1d([10, 20])];
    const total = addInPlace(target, value, 0.5);
    expect([...total.dataSync()]).toEqual([6, 12]);
    [target, value, total].forEach((x) => x.dispose());
    expect(memory().numTensors).toBe(before);
  });
});
