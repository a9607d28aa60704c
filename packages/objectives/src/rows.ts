import { EspalierError } from '@espalier/spec';
import { accumulate, constant, Vector, type VectorLike } from './vector';

/** Ragged rows over a flat vector: row `r` is `[offsets[r] .. offsets[r + 1])`. Rows may be empty. */
export interface Rows {
  offsets: Int32Array; // [R + 1]
  count: number; // R
  size: number; // elements in all rows
}

/** Rows of the given lengths. */
export function rowsOf(lengths: ArrayLike<number>): Rows {
  const offsets = new Int32Array(lengths.length + 1);
  for (let r = 0; r < lengths.length; r++) offsets[r + 1] = offsets[r] + lengths[r];
  return { offsets, count: lengths.length, size: offsets[lengths.length] };
}

/** The number of elements in each row. */
export function rowLengths(rows: Rows): Float64Array {
  return Float64Array.from({ length: rows.count }, (_, r) => rows.offsets[r + 1] - rows.offsets[r]);
}

function checked(input: VectorLike, size: number, name: string): Vector {
  const x = constant(input);
  if (x.size !== size) throw new EspalierError('internal', `${name}: a vector of size ${size} was expected, this one has ${x.size}`);
  return x;
}

/** The sum of each row: [size] to [R]. An empty row sums to 0. */
export function rowSum(input: VectorLike, rows: Rows): Vector {
  const x = checked(input, rows.size, 'rowSum');
  const values = new Float64Array(rows.count);
  for (let r = 0; r < rows.count; r++) for (let i = rows.offsets[r]; i < rows.offsets[r + 1]; i++) values[r] += x.values[i];
  return new Vector(values, [x], (grad, [into]) => {
    for (let r = 0; r < rows.count; r++) for (let i = rows.offsets[r]; i < rows.offsets[r + 1]; i++) accumulate(into, i, grad[r]);
  });
}

/** The mean of each row: [size] to [R]. An empty row has mean 0. */
export function rowMean(input: VectorLike, rows: Rows): Vector {
  const sums = rowSum(input, rows);
  const scale = rowLengths(rows).map((length) => 1 / Math.max(length, 1));
  const values = sums.values.map((v, r) => v * scale[r]);
  return new Vector(values, [sums], (grad, [into]) => {
    for (let r = 0; r < rows.count; r++) accumulate(into, r, grad[r] * scale[r]);
  });
}

/** One number a row, repeated over the elements of the row: [R] to [size]. */
export function spreadRows(input: VectorLike, rows: Rows): Vector {
  const x = checked(input, rows.count, 'spreadRows');
  const values = new Float64Array(rows.size);
  for (let r = 0; r < rows.count; r++) values.fill(x.values[r], rows.offsets[r], rows.offsets[r + 1]);
  return new Vector(values, [x], (grad, [into]) => {
    for (let r = 0; r < rows.count; r++) for (let i = rows.offsets[r]; i < rows.offsets[r + 1]; i++) accumulate(into, r, grad[i]);
  });
}
