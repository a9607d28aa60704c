import { describe, expect, it } from 'vitest';
import { rowMean, rowsOf, rowSum, spreadRows } from './rows';
import { gradients, stopGradient, variable, type Vector } from './vector';
import { abs, add, clip, div, exp, gather, log, logsigmoid, max, mean, min, mul, neg, sigmoid, softplus, sqrt, square, sub, sum, where } from './vector-ops';

const weights = [0.7, -1.3, 0.4, 2.1, -0.6];
const weighted = (x: Vector) => sum(mul(x, weights.slice(0, x.size)));

/** Compares the tape with central differences, for every element of every input. */
function check(f: (...inputs: Vector[]) => Vector, ...inputs: number[][]) {
  const leaves = inputs.map((values) => variable(values));
  const grads = gradients(f(...leaves), leaves);
  inputs.forEach((values, k) =>
    values.forEach((_, i) => {
      const at = (h: number) => f(...inputs.map((v, j) => variable(j === k ? v.map((x, n) => (n === i ? x + h : x)) : v))).item();
      expect(grads[k][i]).toBeCloseTo((at(1e-6) - at(-1e-6)) / 2e-6, 6);
    }),
  );
}

const x = [-1.7, 0.3, 2.2, -0.4, 0.9];
const y = [0.6, 1.9, -0.8, 1.1, 0.35];
const positive = [0.2, 1.4, 3.1, 0.7, 2.5];

describe('operations against finite differences', () => {
  it.each([['add', add], ['sub', sub], ['mul', mul], ['div', div], ['min', min], ['max', max]] as const)('%s, broadcast from both sides too', (_name, f) => {
    check((a, b) => weighted(f(a, b)), x, y);
    check((a, b) => weighted(f(a, b)), x, [1.3]);
    check((a, b) => weighted(f(a, b)), [1.3], y);
  });
  it.each([['neg', neg], ['exp', exp], ['square', square], ['abs', abs], ['sigmoid', sigmoid], ['softplus', softplus], ['logsigmoid', logsigmoid]] as const)('%s', (_name, f) => check((a) => weighted(f(a)), x));
  it.each([['log', log], ['sqrt', sqrt]] as const)('%s', (_name, f) => check((a) => weighted(f(a)), positive));
  it('clip, where, gather, mean', () => {
    check((a) => weighted(clip(a, -1, 1)), x);
    check((a, b) => weighted(where([1, 0, 0, 1, 1], a, b)), x, y);
    check((a, b) => weighted(where([1, 0, 0, 1, 1], a, b)), x, [0.4]);
    check((a) => weighted(gather(a, [4, 0, 0, 2])), x);
    check((a) => mul(mean(a), 3), x);
  });
  it('rows, with an empty one', () => {
    const rows = rowsOf([2, 0, 3]);
    check((a) => weighted(rowSum(square(a), rows)), x);
    check((a) => weighted(rowMean(square(a), rows)), x);
    check((a) => weighted(mul(spreadRows(a, rows), y)), [0.3, 9, -0.2]);
    expect([...rowMean(x, rows).values]).toEqual([-0.7, 0, (2.2 - 0.4 + 0.9) / 3]);
  });
  it('a value used many times collects every path', () => check((a) => sum(mul(exp(a), div(a, add(square(a), 1)))), x));
});

describe('the tape', () => {
  it('does not pass a gradient through stopGradient', () => {
    const a = variable([2, 3]);
    expect([...gradients(sum(mul(stopGradient(a), a)), [a])[0]]).toEqual([2, 3]);
  });
  it('gives zeros for what the output does not depend on', () => {
    expect([...gradients(sum(variable([1])), [variable([1, 2])])[0]]).toEqual([0, 0]);
  });
  it('halves the gradient at a tie, and passes it on the bound of a clip (torch)', () => {
    const a = variable([1]);
    const b = variable([1]);
    expect(gradients(sum(min(a, b)), [a, b]).map((g) => g[0])).toEqual([0.5, 0.5]);
    expect(gradients(sum(max(a, b)), [a, b]).map((g) => g[0])).toEqual([0.5, 0.5]);
    expect(gradients(sum(clip(a, 0, 1)), [a])[0][0]).toBe(1);
  });
  it('stays finite far out', () => {
    for (const v of [-800, 800]) {
      const a = variable([v]);
      const out = add(add(sum(softplus(a)), sum(sigmoid(a))), sum(logsigmoid(a)));
      expect(Number.isFinite(out.item())).toBe(true);
      expect(Number.isFinite(gradients(out, [a])[0][0])).toBe(true);
    }
  });
  it('names sizes that do not match', () => {
    expect(() => add(variable([1, 2]), variable([1, 2, 3]))).toThrow('sizes 2 and 3');
    expect(() => gather([1, 2], [2])).toThrow('index 2 is outside a vector of size 2');
    expect(() => gradients(variable([1, 2]), [])).toThrow('scalar');
    expect(() => rowSum([1, 2], rowsOf([3]))).toThrow('size 3 was expected');
  });
});
