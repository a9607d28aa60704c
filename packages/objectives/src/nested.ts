import { EspalierError } from '@espalier/spec';
import { rowsOf, type Rows } from './rows';

/** A row a completion, a number a token; rows may have any length. */
export type Nested = readonly ArrayLike<number>[];

/** Which entries of nested arrays count, as ragged rows with the place of every kept entry. */
export interface NestedMask {
  rows: Rows;
  /** Row and column of every kept entry. [A] */
  row: Int32Array;
  column: Int32Array;
  /** Lengths of the nested rows themselves, kept entries or not. */
  widths: readonly number[];
}

/** Reads a mask over rows of the given lengths: entries that are not 0 are kept; without a mask, all are. */
export function nestedMask(name: string, values: Nested, mask?: Nested): NestedMask {
  if (mask && mask.length !== values.length) throw new EspalierError('bad_data', `\`mask\` has ${mask.length} rows and \`${name}\` has ${values.length}`, { fix: 'one row a completion' });
  const row: number[] = [];
  const column: number[] = [];
  const lengths = Array.from(values, (entries, r) => {
    if (mask && mask[r].length !== entries.length) {
      throw new EspalierError('bad_data', `row ${r} of \`mask\` has ${mask[r].length} entries and that of \`${name}\` has ${entries.length}`, { fix: 'one entry a token' });
    }
    let kept = 0;
    for (let t = 0; t < entries.length; t++) {
      if (mask && !mask[r][t]) continue;
      row.push(r);
      column.push(t);
      kept++;
    }
    return kept;
  });
  return { rows: rowsOf(lengths), row: Int32Array.from(row), column: Int32Array.from(column), widths: Array.from(values, (entries) => entries.length) };
}

/**
 * The kept entries, in one flat vector. [A]
 * @throws EspalierError `bad_data` when a row is missing or too short, or a kept entry is not a finite number
 */
export function flatten(name: string, values: Nested, mask: NestedMask): Float64Array {
  if (values.length !== mask.widths.length) throw new EspalierError('bad_data', `\`${name}\` has ${values.length} rows, ${mask.widths.length} were expected`, { fix: 'one row a completion' });
  values.forEach((entries, r) => {
    if (entries.length !== mask.widths[r]) throw new EspalierError('bad_data', `row ${r} of \`${name}\` has ${entries.length} entries, ${mask.widths[r]} were expected`, { fix: 'one entry a token' });
  });
  return Float64Array.from(mask.row, (r, i) => {
    const value = values[r][mask.column[i]];
    if (!Number.isFinite(value)) throw new EspalierError('bad_data', `\`${name}\`[${r}][${mask.column[i]}] is ${String(value)}`, { fix: 'a finite number, or mask 0 there' });
    return value;
  });
}

/** The reverse of {@link flatten}: nested rows with 0 where the mask is 0. */
export function unflatten(flat: ArrayLike<number>, mask: NestedMask): number[][] {
  const nested = mask.widths.map((width) => new Array<number>(width).fill(0));
  mask.row.forEach((r, i) => (nested[r][mask.column[i]] = flat[i]));
  return nested;
}
