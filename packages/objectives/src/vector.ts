import { EspalierError } from '@espalier/spec';

/**
 * Adds to the gradients of the parents of a vector, given the gradient of the vector itself. `into[p]` collects the gradient of parent `p`: an array of the
 * parent's size, or null when the parent has none.
 */
type Pullback = (grad: Float64Array, into: readonly (Float64Array | null)[]) => void;

let created = 0;

/**
 * A float64 vector that remembers how it was computed. Vectors are made by {@link variable}, {@link constant} and the operations of this
 * package; {@link gradients} walks back from a scalar. A vector of size 1 broadcasts against any other.
 *
 * The order of creation is an order of dependence, so the walk back needs no sorting beyond it.
 */
export class Vector {
  readonly id = created++;
  readonly differentiable: boolean;

  /** @internal Use {@link variable}, {@link constant} or an operation. */
  constructor(
    readonly values: Float64Array,
    readonly parents: readonly Vector[] = [],
    readonly pullback: Pullback | null = null,
    differentiable = parents.some((parent) => parent.differentiable),
  ) {
    this.differentiable = differentiable;
  }

  get size(): number {
    return this.values.length;
  }

  /** The number in a vector of size 1. */
  item(): number {
    if (this.size !== 1) throw new EspalierError('internal', `item() wants a vector of size 1, this one has ${this.size}`);
    return this.values[0];
  }
}

/** What every operation accepts: a vector, plain numbers (constants), or one number (broadcast). */
export type VectorLike = Vector | number | ArrayLike<number>;

/** A leaf that {@link gradients} can differentiate with respect to. The values are copied. */
export function variable(values: ArrayLike<number>): Vector {
  return new Vector(new Float64Array(values), [], null, true);
}

/** A leaf without a gradient. The values are copied unless they are a `Float64Array`. */
export function constant(values: VectorLike): Vector {
  if (values instanceof Vector) return values;
  if (typeof values === 'number') return new Vector(Float64Array.of(values));
  return new Vector(values instanceof Float64Array ? values : new Float64Array(values));
}

/** The same values, cut off from how they were computed (torch: `detach`). */
export function stopGradient(x: Vector): Vector {
  return new Vector(x.values);
}

/** Adds to one entry of what a pullback collects; a parent of size 1, which was broadcast, collects the sum. */
export function accumulate(into: Float64Array | null, index: number, value: number): void {
  if (into !== null) into[into.length === 1 ? 0 : index] += value;
}

/**
 * The derivative of a scalar with respect to each of the given vectors; zeros where it does not depend on one.
 *
 * @example
 * const x = variable([1, 2]);
 * gradients(sum(mul(x, x)), [x])[0]; // Float64Array [2, 4]
 */
export function gradients(output: Vector, inputs: readonly Vector[]): Float64Array[] {
  if (output.size !== 1) throw new EspalierError('internal', `gradients of a scalar were asked for, the output has size ${output.size}`);
  const reached = new Map<number, Vector>();
  const pending = [output];
  while (pending.length > 0) {
    const node = pending.pop()!;
    if (reached.has(node.id) || !node.differentiable) continue;
    reached.set(node.id, node);
    pending.push(...node.parents);
  }

  const grads = new Map<number, Float64Array>([[output.id, Float64Array.of(1)]]);
  const collector = (vector: Vector): Float64Array | null => {
    if (!vector.differentiable) return null;
    let grad = grads.get(vector.id);
    if (!grad) grads.set(vector.id, (grad = new Float64Array(vector.size)));
    return grad;
  };
  for (const node of [...reached.values()].sort((x, y) => y.id - x.id)) {
    const grad = grads.get(node.id);
    if (grad && node.pullback) node.pullback(grad, node.parents.map(collector));
  }
  return inputs.map((input) => grads.get(input.id) ?? new Float64Array(input.size));
}
