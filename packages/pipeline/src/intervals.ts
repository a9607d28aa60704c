import { EspalierError } from '@espalier/spec';

/** Lower and upper end. */
export type Interval = readonly [low: number, high: number];

/** The normal quantile of a two-sided interval of 95 %. */
const z95 = 1.959963984540054;

/**
 * Wilson's score interval of a share (Wilson 1927): where the true one lies with 95 % confidence, when `right` of `total` were seen. Unlike the usual `p ± 1.96 s` it stays
 * inside 0 … 1 and says something at 0 and at 1. `total` may be a fraction: an effective number.
 * @throws EspalierError `bad_config` for counts that make no sense
 * @example
 * wilsonInterval(8, 10); // [0.490, 0.943]
 */
export function wilsonInterval(right: number, total: number, z = z95): Interval {
  if (!(total > 0) || !(right >= 0 && right <= total)) throw new EspalierError('bad_config', `${right} of ${total} is no share`, { fix: 'counts with 0 ≤ right ≤ total and total above 0' });
  const p = right / total;
  const middle = (p + (z * z) / (2 * total)) / (1 + (z * z) / total);
  const half = (z / (1 + (z * z) / total)) * Math.sqrt((p * (1 - p)) / total + (z * z) / (4 * total * total));
  // The ends are exact where the share is; rounding must not move them.
  return [right === 0 ? 0 : Math.max(0, middle - half), right === total ? 1 : Math.min(1, middle + half)];
}

/**
 * The 95 % interval of a mean of `values`, one a row, each between 0 and 1: shares of right completions, or pass@k. Rows are independent, completions of one row are not: so
 * it is Wilson's interval of as many draws as would have the variance that the rows have. For values that are 0 or 1 that is Wilson's own.
 * @param draws completions a row: what the rows can count for at most
 * @returns null where there are no values
 * @example
 * rowsInterval([1, 0.5, 0, 1], 2);
 */
export function rowsInterval(values: readonly number[], draws = 1): Interval | null {
  const rows = values.length;
  if (rows === 0) return null;
  const p = Math.min(1, values.reduce((sum, value) => sum + value, 0) / rows);
  const variance = values.reduce((sum, value) => sum + (value - p) ** 2, 0) / rows;
  const effective = variance > 0 ? Math.min((p * (1 - p) * rows) / variance, rows * draws) : p > 0 && p < 1 ? rows * draws : rows;
  return wilsonInterval(p * effective, effective);
}
