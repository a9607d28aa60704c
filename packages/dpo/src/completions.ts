import { div, flatten, mul, nestedMask, rowSum, unflatten, variable, type Nested, type Rows, type Vector } from '@espalier/objectives';
import { EspalierError } from '@espalier/spec';

/** Numbers of completions: one each, or a row of tokens each. */
export type CompletionNumbers = ArrayLike<number> | Nested;

/** Completions as they were given, with their numbers on the tape. */
export interface Completions {
  /** All numbers, a leaf. */
  flat: Vector;
  /** The tokens of each; null when a completion is one number. */
  rows: Rows | null;
  lengths: number[] | null;
  /** One number a completion: the sum over its tokens, each with its weight. */
  sums(weights?: ArrayLike<number> | null): Vector;
  /** One number a completion: sums divided by the lengths. */
  averages(lengths: ArrayLike<number>): Vector;
  /** Mean over tokens of log p − log Σp², constants. */
  alignedMeans(name: string, sumSquares: Nested | undefined): number[];
  /** A flat gradient in the shape of what was given. */
  shaped(gradient: ArrayLike<number>): number[] | number[][];
}

const isNested = (values: CompletionNumbers): values is Nested => values.length > 0 && typeof values[0] !== 'number';

/**
 * Reads the numbers of `count` completions.
 * @throws EspalierError `bad_data` for another count, or a number that is not finite
 */
export function completions(name: string, values: CompletionNumbers | undefined, count: number): Completions {
  if (!values || values.length !== count) throw new EspalierError('bad_data', `\`${name}\` has ${values ? values.length : 'no'} entries, ${count} were expected`, { fix: 'one a completion' });
  if (isNested(values)) {
    const mask = nestedMask(name, values);
    const flat = variable(flatten(name, values, mask));
    const lengths = [...mask.widths];
    return {
      flat,
      rows: mask.rows,
      lengths,
      sums: (weights) => rowSum(weights ? mul(flat, weights) : flat, mask.rows),
      averages: (of) => div(rowSum(flat, mask.rows), Array.from(of, (length) => Math.max(length, 1))),
      alignedMeans(other, sumSquares) {
        if (!sumSquares) throw new EspalierError('bad_data', `\`use_weighting\` needs \`${other}\``, { fix: 'Σp² over the vocabulary at each token' });
        const squares = flatten(other, sumSquares, mask);
        return lengths.map((length, p) => {
          let total = 0;
          for (let i = mask.rows.offsets[p]; i < mask.rows.offsets[p + 1]; i++) total += flat.values[i] - Math.log(squares[i]);
          return total / Math.max(length, 1);
        });
      },
      shaped: (gradient) => unflatten(gradient, mask),
    };
  }
  const flat = variable(perPair(name, values, count));
  return {
    flat,
    rows: null,
    lengths: null,
    sums: () => flat,
    averages: (of) => div(flat, Array.from(of, (length) => Math.max(length, 1))),
    alignedMeans: () => {
      throw new EspalierError('bad_data', `\`${name}\` is one number a completion, and its tokens are needed`, { fix: 'rows, a number a token' });
    },
    shaped: (gradient) => Array.from(gradient),
  };
}

/** One finite number a completion. */
export function perPair(name: string, values: ArrayLike<number>, count: number): number[] {
  if (values.length !== count) throw new EspalierError('bad_data', `\`${name}\` has ${values.length} entries, ${count} were expected`, { fix: 'one a completion' });
  return Array.from(values, (value, i) => {
    if (!Number.isFinite(value)) throw new EspalierError('bad_data', `\`${name}\`[${i}] is ${String(value)}`, { fix: 'a finite number' });
    return value;
  });
}

/** LD-DPO (2409.06411): 1 for the tokens that both completions are long enough to have, `alpha` for those beyond. Null for numbers that are sums already. */
export function sharedLengthWeights(rows: Rows | null, shared: ArrayLike<number>, alpha: number): Float64Array | null {
  if (!rows) return null;
  const weights = new Float64Array(rows.size).fill(1);
  for (let p = 0; p < rows.count; p++) weights.fill(alpha, Math.min(rows.offsets[p] + shared[p], rows.offsets[p + 1]), rows.offsets[p + 1]);
  return weights;
}

