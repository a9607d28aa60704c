import { EspalierError } from '@espalier/spec';

/** The mean of the numbers that are not NaN; NaN when there are none. */
export function nanMean(values: ArrayLike<number>): number {
  let total = 0;
  let count = 0;
  for (let i = 0; i < values.length; i++) {
    if (Number.isNaN(values[i])) continue;
    total += values[i];
    count++;
  }
  return count > 0 ? total / count : NaN;
}

/** The standard deviation (Bessel-corrected) of the numbers that are not NaN; NaN with fewer than two (TRL: `nanstd`). */
export function nanStd(values: ArrayLike<number>): number {
  const mean = nanMean(values);
  let squares = 0;
  let count = 0;
  for (let i = 0; i < values.length; i++) {
    if (Number.isNaN(values[i])) continue;
    squares += (values[i] - mean) ** 2;
    count++;
  }
  return count > 1 ? Math.sqrt(squares / (count - 1)) : NaN;
}

/** The quantile `q` of the numbers, interpolated linearly between neighbours (torch's default); NaN when there are none. */
export function quantile(values: ArrayLike<number>, q: number): number {
  const sorted = Float64Array.from(values).sort();
  if (sorted.length === 0) return NaN;
  const exact = q * (sorted.length - 1);
  const place = Math.abs(exact - Math.round(exact)) < 1e-9 ? Math.round(exact) : exact; // (1 - 0.7) * 10 is rank 3, not 3.0000000000000004
  const below = Math.floor(place);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (place - below);
}

function masked(values: ArrayLike<number>, mask: ArrayLike<number>): number[] {
  if (values.length !== mask.length) throw new EspalierError('bad_data', `${values.length} values came with a mask of ${mask.length}`, { fix: 'one mask entry a value' });
  return Array.from(values).filter((_, i) => mask[i] !== 0);
}

/** The mean of the values whose mask is not 0; 0 when there are none. */
export function maskedMean(values: ArrayLike<number>, mask: ArrayLike<number>): number {
  const kept = masked(values, mask);
  return kept.length > 0 ? kept.reduce((a, b) => a + b, 0) / kept.length : 0;
}

/**
 * The Bessel-corrected variance of the values whose mask is not 0.
 * @throws EspalierError `bad_data` with fewer than two such values
 */
export function maskedVariance(values: ArrayLike<number>, mask: ArrayLike<number>): number {
  const kept = masked(values, mask);
  if (kept.length < 2) throw new EspalierError('bad_data', `a variance needs two values, the mask leaves ${kept.length}`, { fix: 'a larger batch' });
  const mean = kept.reduce((a, b) => a + b, 0) / kept.length;
  return kept.reduce((a, b) => a + (b - mean) ** 2, 0) / (kept.length - 1);
}

/** (x − mean) / sqrt(variance + 1e-8) with the statistics of the masked values, applied to all; `shiftMean: false` adds the mean back. */
export function maskedWhiten(values: ArrayLike<number>, mask: ArrayLike<number>, options: { shiftMean?: boolean } = {}): Float64Array {
  const mean = maskedMean(values, mask);
  const scale = 1 / Math.sqrt(maskedVariance(values, mask) + 1e-8);
  const shift = options.shiftMean === false ? mean : 0;
  return Float64Array.from(values, (v) => (v - mean) * scale + shift);
}
