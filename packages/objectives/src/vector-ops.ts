import { EspalierError } from '@espalier/spec';
import { accumulate, constant, Vector, type VectorLike } from './vector';

function commonSize(name: string, ...vectors: readonly Vector[]): number {
  const size = vectors.find((x) => x.size !== 1)?.size ?? 1;
  const odd = vectors.find((x) => x.size !== 1 && x.size !== size);
  if (odd) throw new EspalierError('internal', `${name}: sizes ${vectors.map((x) => x.size).join(' and ')} do not match (only size 1 broadcasts)`);
  return size;
}

const at = (x: Vector, i: number) => x.values[x.size === 1 ? 0 : i];

type Derivative = (a: number, b: number, y: number) => number;

/** An elementwise operation of two vectors, with its derivative by each. */
function binary(name: string, left: VectorLike, right: VectorLike, f: (a: number, b: number) => number, byLeft: Derivative, byRight: Derivative): Vector {
  const a = constant(left);
  const b = constant(right);
  const values = new Float64Array(commonSize(name, a, b));
  for (let i = 0; i < values.length; i++) values[i] = f(at(a, i), at(b, i));
  return new Vector(values, [a, b], (grad, [intoA, intoB]) => {
    for (let i = 0; i < grad.length; i++) {
      if (grad[i] === 0) continue; // keeps 0 * Infinity out of the sums
      if (intoA !== null) accumulate(intoA, i, grad[i] * byLeft(at(a, i), at(b, i), values[i]));
      if (intoB !== null) accumulate(intoB, i, grad[i] * byRight(at(a, i), at(b, i), values[i]));
    }
  });
}

/** An elementwise operation of one vector, with its derivative. */
function unary(input: VectorLike, f: (x: number) => number, derivative: (x: number, y: number) => number): Vector {
  const x = constant(input);
  const values = new Float64Array(x.size);
  for (let i = 0; i < x.size; i++) values[i] = f(x.values[i]);
  return new Vector(values, [x], (grad, [into]) => {
    for (let i = 0; i < grad.length; i++) if (grad[i] !== 0) accumulate(into, i, grad[i] * derivative(x.values[i], values[i]));
  });
}

export const add = (a: VectorLike, b: VectorLike): Vector => binary('add', a, b, (x, y) => x + y, () => 1, () => 1);
export const sub = (a: VectorLike, b: VectorLike): Vector => binary('sub', a, b, (x, y) => x - y, () => 1, () => -1);
export const mul = (a: VectorLike, b: VectorLike): Vector => binary('mul', a, b, (x, y) => x * y, (_x, y) => y, (x) => x);
export const div = (a: VectorLike, b: VectorLike): Vector => binary('div', a, b, (x, y) => x / y, (_x, y) => 1 / y, (_x, y, z) => -z / y);

const share = (chosen: boolean, tie: boolean) => (tie ? 0.5 : chosen ? 1 : 0);

/** Elementwise minimum. At a tie each side gets half of the gradient, as in torch. */
export const min = (a: VectorLike, b: VectorLike): Vector =>
  binary('min', a, b, Math.min, (x, y) => share(x < y, x === y), (x, y) => share(y < x, x === y));
/** Elementwise maximum. At a tie each side gets half of the gradient, as in torch. */
export const max = (a: VectorLike, b: VectorLike): Vector =>
  binary('max', a, b, Math.max, (x, y) => share(x > y, x === y), (x, y) => share(y > x, x === y));

export const neg = (x: VectorLike): Vector => unary(x, (v) => -v, () => -1);
export const exp = (x: VectorLike): Vector => unary(x, Math.exp, (_v, y) => y);
export const log = (x: VectorLike): Vector => unary(x, Math.log, (v) => 1 / v);
export const square = (x: VectorLike): Vector => unary(x, (v) => v * v, (v) => 2 * v);
export const sqrt = (x: VectorLike): Vector => unary(x, Math.sqrt, (_v, y) => 0.5 / y);
export const abs = (x: VectorLike): Vector => unary(x, Math.abs, (v) => Math.sign(v));

const sigmoidOf = (v: number) => (v >= 0 ? 1 / (1 + Math.exp(-v)) : Math.exp(v) / (1 + Math.exp(v)));
const softplusOf = (v: number) => Math.max(v, 0) + Math.log1p(Math.exp(-Math.abs(v)));

/** 1 / (1 + e^{-x}), without overflow. */
export const sigmoid = (x: VectorLike): Vector => unary(x, sigmoidOf, (_v, y) => y * (1 - y));
/** log(1 + e^x), without overflow. */
export const softplus = (x: VectorLike): Vector => unary(x, softplusOf, sigmoidOf);
/** log sigmoid(x) = -softplus(-x), without overflow. */
export const logsigmoid = (x: VectorLike): Vector => unary(x, (v) => -softplusOf(-v), (v) => sigmoidOf(-v));

/** x limited to [low, high]; the gradient passes inside and on the bounds, as in torch's `clamp`. */
export const clip = (x: VectorLike, low: number, high: number): Vector =>
  unary(x, (v) => Math.min(Math.max(v, low), high), (v) => (v >= low && v <= high ? 1 : 0));

/** `a` where the condition is not 0, `b` elsewhere. */
export function where(condition: ArrayLike<number | boolean>, whenTrue: VectorLike, whenFalse: VectorLike): Vector {
  const a = constant(whenTrue);
  const b = constant(whenFalse);
  const size = condition.length;
  if (commonSize('where', a, b) !== size && commonSize('where', a, b) !== 1) {
    throw new EspalierError('internal', `where: the condition has size ${size}, the values have ${a.size} and ${b.size}`);
  }
  const values = new Float64Array(size);
  for (let i = 0; i < size; i++) values[i] = condition[i] ? at(a, i) : at(b, i);
  return new Vector(values, [a, b], (grad, [intoA, intoB]) => {
    for (let i = 0; i < size; i++) accumulate(condition[i] ? intoA : intoB, i, grad[i]);
  });
}

/** The sum of all elements, as a scalar; 0 for an empty vector. */
export function sum(input: VectorLike): Vector {
  const x = constant(input);
  let total = 0;
  for (let i = 0; i < x.size; i++) total += x.values[i];
  return new Vector(Float64Array.of(total), [x], (grad, [into]) => {
    for (let i = 0; i < x.size; i++) accumulate(into, i, grad[0]);
  });
}

/** The mean of all elements, as a scalar; 0 for an empty vector. */
export const mean = (x: VectorLike): Vector => {
  const v = constant(x);
  return div(sum(v), Math.max(v.size, 1));
};

/** Elements by index; an element that is taken twice gets both gradients. */
export function gather(input: VectorLike, index: ArrayLike<number>): Vector {
  const x = constant(input);
  const values = new Float64Array(index.length);
  for (let i = 0; i < index.length; i++) {
    if (!(index[i] >= 0 && index[i] < x.size)) throw new EspalierError('internal', `gather: index ${index[i]} is outside a vector of size ${x.size}`);
    values[i] = x.values[index[i]];
  }
  return new Vector(values, [x], (grad, [into]) => {
    for (let i = 0; i < index.length; i++) accumulate(into, index[i], grad[i]);
  });
}

/** log(1 − e^x) for x < 0, without cancellation (Mächler 2012): the log-probability of what has not the log-probability x. */
export const log1mexp = (x: VectorLike): Vector => unary(x, (v) => (v < -Math.LN2 ? Math.log1p(-Math.exp(v)) : Math.log(-Math.expm1(v))), (v) => -1 / Math.expm1(-v));
