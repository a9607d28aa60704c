// Medians and spreads, in the numbers' own units.

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length === 0 ? NaN : sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Median, least and greatest. */
export const spread = (values) => ({ median: median(values), min: Math.min(...values), max: Math.max(...values), count: values.length });

/** Seconds of the answers of one turn of a contestant; null where it failed. */
export const secondsOf = (result, turn = 0) => (result.error || result.answers[turn].length === 0 ? null : spread(result.answers[turn].map(({ seconds }) => seconds)));

/** The fastest of several contestants: `{ name, seconds }`, or null where all failed. */
export function fastest(results, names, turn = 0) {
  const found = names.map((name) => ({ name, seconds: secondsOf(results.get(name), turn) })).filter(({ seconds }) => seconds !== null);
  return found.sort((a, b) => a.seconds.median - b.seconds.median)[0] ?? null;
}

/** A check against a bar: `at least` or `at most`. A value that is not there holds nothing. */
export function check(what, value, bar, options = {}) {
  const { unit = '', most = false, digits = 2, note } = options;
  const known = value !== null && value !== undefined && Number.isFinite(value);
  return { what, value: known ? value : null, bar, most, unit, digits, holds: known ? (most ? value <= bar : value >= bar) : null, ...(note ? { note } : {}) };
}

/** Of two medians in one run: how many times faster the second is. */
export const ratio = (slow, fast) => (slow && fast ? slow.median / fast.median : null);

export const seconds = (s) => (s === null ? 'failed' : `${s.median.toFixed(s.median < 1 ? 3 : 2)} s (${s.min.toFixed(s.min < 1 ? 3 : 2)}–${s.max.toFixed(s.max < 1 ? 3 : 2)})`);
export const gigabytes = (bytes) => (bytes ? `${(bytes / 1e9).toFixed(2)} GB` : '');
