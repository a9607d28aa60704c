/**
 * The least and the greatest value of each of `buckets` equal parts of `values[from .. to)`, by index: what a curve drawn with so many pixels needs to look as with
 * all of its points. Values that are not finite are passed over, but a bucket of nothing else keeps one of them, so that a gap stays a gap. First and last
 * are always kept.
 *
 * @returns indices in ascending order, at most `2 * buckets + 2`
 * @example
 * minMaxIndices([0, 9, 1, 2, -5, 3, 3, 3], 0, 8, 2); // [0, 1, 4, 5, 7]
 */
export function minMaxIndices(values: ArrayLike<number>, from: number, to: number, buckets: number): number[] {
  const count = to - from;
  if (count <= 2 * buckets + 2) return Array.from({ length: Math.max(count, 0) }, (_, i) => from + i);
  const kept: number[] = [];
  const keep = (index: number) => {
    if (kept.length === 0 || index > kept[kept.length - 1]) kept.push(index);
  };
  keep(from);
  for (let b = 0; b < buckets; b++) {
    const start = from + Math.floor((b * count) / buckets);
    const end = from + Math.floor(((b + 1) * count) / buckets);
    let least = -1;
    let greatest = -1;
    for (let i = start; i < end; i++) {
      if (!Number.isFinite(values[i])) continue;
      if (least < 0 || values[i] < values[least]) least = i;
      if (greatest < 0 || values[i] > values[greatest]) greatest = i;
    }
    if (least < 0) keep(start);
    else {
      keep(Math.min(least, greatest));
      keep(Math.max(least, greatest));
    }
  }
  keep(to - 1);
  return kept;
}
