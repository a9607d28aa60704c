import { beforeAll, describe, expect, it } from 'vitest';
import { add, addN, concat, embedding, exp, grads, linear, log, matMul, mean, memory, mul, offTape, record, residualAdd, scalar, selectBackend, softmax, square, sub, sum, tensor1d, tensor2d, tidy, variable, zeros } from './index';
import type { Tensor, Variable } from './index';
import { fusedGradient, portableKernel, run } from './ops/kernel';
import { testBackends, testNumbers } from './testing';

function parameter(shape: [number, number], seed: number, trainable = true): Variable {
  const initial = tensor2d(Float32Array.from(testNumbers(shape[0] * shape[1], seed)), shape);
  const result = variable(initial, trainable);
  initial.dispose();
  return result;
}

/** Walks a tape whose one output is a scalar. */
function gradientsOf(forward: () => Tensor): Map<Variable, number[]> {
  const found = new Map<Variable, number[]>();
  const tape = record(() => [forward()]);
  const one = scalar(1);
  tape.backward([one], (v, gradient) => {
    found.set(v, [...gradient.dataSync()]);
    gradient.dispose();
  });
  one.dispose();
  return found;
}

describe.each(await testBackends('cpu', 'wasm', 'native'))('the tape on %s', (backend) => {
  beforeAll(async () => void (await selectBackend(backend)));

  it('takes what was computed off it as a constant', () => {
    const w = parameter([2, 3], 1);
    const before = memory().numTensors;
    const gradient = gradientsOf(() => sum(mul(w, offTape(() => square(w))))).get(w);
    expect(gradient).toEqual(Array.from(w.dataSync(), (v) => Math.fround(v * v)));
    expect(memory().numTensors).toBe(before);
    w.dispose();
  });

  it("gives the gradients of tfjs's own walker on a net of its ops", () => {
    const parameters = [parameter([3, 4], 1), parameter([4, 4], 2), parameter([2, 4], 3)];
    const before = memory().numTensors;
    const net = (...[a, b, c]: Tensor[]) => {
      const h = add(matMul(a, b), a); // `a` twice, and a residual
      const p = softmax(matMul(h, b));
      const all = concat([p, mul(c, 0.3), sub(h, p)], 0);
      return mean(addN([square(all), mul(all, exp(all)), log(add(square(all), 1))]));
    };
    const ours = gradientsOf(() => net(...parameters));
    tidy(() => {
      const theirs = grads(net as never)(parameters);
      parameters.forEach((p, i) => ours.get(p)!.forEach((value, j) => expect(value).toBeCloseTo(theirs[i].dataSync()[j], 5)));
    });
    expect(memory().numTensors).toBe(before);
    parameters.forEach((p) => p.dispose());
  });

  it('adds up gradients that share their data without writing into one another', () => {
    // Residual adds hand one buffer to both operands: y = ((x + f(x)) + f(x + f(x))) + x
    const w = parameter([3, 3], 4);
    const x = parameter([2, 3], 5);
    const f = (h: Tensor) => linear(h, w);
    const fused = gradientsOf(() => {
      const h = residualAdd(x, f(x));
      return sum(square(residualAdd(residualAdd(h, f(h)), x)));
    });
    tidy(() => {
      const theirs = grads(((a: Tensor, b: Tensor) => {
        const g = (h: Tensor) => matMul(h, b, false, true);
        const h = add(a, g(a));
        return sum(square(add(add(h, g(h)), a)));
      }) as never)([x, w]);
      [x, w].forEach((p, i) => fused.get(p)!.forEach((value, j) => expect(value).toBeCloseTo(theirs[i].dataSync()[j], 3)));
    });
    x.dispose();
    w.dispose();
  });

  it('adds the gradient of an embedding to that of the head that it is tied to', () => {
    const table = parameter([6, 3], 12);
    const ids = Int32Array.of(5, 0, 5, 2);
    const before = memory().numTensors;
    const ours = gradientsOf(() => sum(square(linear(residualAdd(embedding(table, ids), embedding(table, ids)), table))));
    expect(memory().numTensors).toBe(before);
    tidy(() => {
      const picks = tensor2d([...ids].map((id) => Array.from({ length: 6 }, (_, i) => (i === id ? 2 : 0))));
      const [theirs] = grads(((t: Tensor) => sum(square(matMul(matMul(picks, t), t, false, true)))) as never)([table]);
      ours.get(table)!.forEach((value, j) => expect(value / theirs.dataSync()[j]).toBeCloseTo(1, 5));
    });
    table.dispose();
  });

  it('leaves frozen variables, and what does not reach a wanted output, alone', () => {
    const [trained, frozen, idle] = [parameter([2, 2], 6), parameter([2, 2], 7, false), parameter([2, 2], 8)];
    const before = memory().numTensors;
    const found: Variable[] = [];
    const tape = record(() => [sum(matMul(trained, frozen)), sum(square(idle))]);
    tape.backward([scalar(1), null], (v, gradient) => {
      found.push(v);
      gradient.dispose();
    });
    expect(found).toEqual([trained]);
    expect(memory().numTensors).toBe(before + 1); // the scalar above
    [trained, frozen, idle].forEach((p) => p.dispose());
  });

  it('keeps several recorded passes apart, in any order', () => {
    const w = parameter([2, 2], 9);
    const before = memory().numTensors;
    const tapes = [1, 2, 3].map((factor) => record(() => [sum(mul(square(w), factor))]));
    const abandoned = record(() => [sum(square(w))]);
    const values = [...w.dataSync()];
    for (const i of [1, 0, 2]) {
      const one = scalar(1);
      tapes[i].backward([one], (_v, gradient) => {
        gradient.dataSync().forEach((value, j) => expect(value).toBeCloseTo(2 * (i + 1) * values[j], 5));
        gradient.dispose();
      });
      one.dispose();
    }
    abandoned.dispose();
    abandoned.dispose();
    expect(memory().numTensors).toBe(before);
    w.dispose();
  });

  it('hands a gradient over as soon as it is final, and holds less and less', () => {
    const weights = Array.from({ length: 6 }, (_, i) => parameter([8, 8], 20 + i));
    const tape = record(() => [sum(square(weights.reduce((x: Tensor, w) => linear(x, w), weights[0])))]);
    const order: number[] = [];
    const held: number[] = [];
    const one = scalar(1);
    tape.backward([one], (v, gradient) => {
      gradient.dispose();
      order.push(weights.indexOf(v));
      held.push(memory().numTensors);
    });
    one.dispose();
    expect(order).toEqual([5, 4, 3, 2, 1, 0]);
    expect(held).toEqual([...held].sort((a, b) => b - a));
    weights.forEach((w) => w.dispose());
  });

  it('frees everything when the forward pass, a gradient or the sink throws', () => {
    const w = parameter([2, 2], 10);
    const before = memory().numTensors;
    const broken = () => {
      throw new Error('broken');
    };
    expect(() => record(() => [square(linear(w, w)), broken()])).toThrow('broken');
    expect(memory().numTensors).toBe(before);
    const one = scalar(1);
    expect(() => record(() => [sum(square(linear(w, w)))]).backward([one], broken)).toThrow('broken');
    const wrong = tensor1d([1, 2]);
    const tape = record(() => [sum(square(w))]);
    expect(() => tape.backward([wrong], broken)).toThrow(/output 0 is \[\], its gradient \[2\]/);
    tape.dispose();
    one.dispose();
    wrong.dispose();
    // The sink's own gradient is its own affair: it threw before it could dispose it.
    expect(memory().numTensors).toBe(before + 1);
    w.dispose();
  });

  it('says so when it is used twice or inside another', () => {
    const w = parameter([2, 2], 11);
    const tape = record(() => [sum(square(w))]);
    tape.dispose();
    expect(() => tape.backward([null], () => {})).toThrow(/already/);
    expect(() => record(() => [...record(() => [sum(w)]).outputs])).toThrow(/inside another recording/);
    w.dispose();
  });
});

describe('an output without a gradient', () => {
  /** Doubles `x`, and has a large second output. */
  function twoOutputs(name: string, dys?: number): { shapes: number[][]; call(x: Tensor): Tensor[] } {
    const shapes: number[][] = [];
    portableKernel<{ x: Tensor }>(name, ({ x }) => [mul(x, 2), zeros([1000])]);
    fusedGradient(name, dys === undefined ? {} : { dys }, (given) => {
      shapes.push(...given.map(({ shape }) => shape));
      return { x: () => mul(given[0], 2) };
    });
    return { shapes, call: (x) => run<Tensor[]>(name, { x }) };
  }

  it.each([[undefined, [[2, 3], [1000]]], [1, [[2, 3], []]]] as const)('comes as zeros where its kernel looks at it, and as nothing to speak of elsewhere: %s', async (dys, expected) => {
    await selectBackend('cpu');
    const kernel = twoOutputs(`EspalierTest${dys ?? 'All'}`, dys);
    const w = parameter([2, 3], 1);
    const before = memory().numTensors;
    expect(gradientsOf(() => sum(kernel.call(w)[0])).get(w)).toEqual(new Array<number>(6).fill(2));
    expect(kernel.shapes).toEqual(expected);
    expect(memory().numTensors).toBe(before);
    w.dispose();
  });
});
