/** Numbers in short. */
export interface Summary {
  count: number;
  mean: number;
  std: number;
  min: number;
  median: number;
  max: number;
}

export const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

/** Of at least one number; the standard deviation has Bessel's correction, and is 0 for a single one. */
export function summarise(values: readonly number[]): Summary {
  const sorted = [...values].sort((a, b) => a - b);
  const m = mean(values);
  const { length } = values;
  const median = length % 2 === 1 ? sorted[length >> 1] : (sorted[length / 2 - 1] + sorted[length / 2]) / 2;
  return { count: length, mean: m, std: Math.sqrt(values.reduce((sum, v) => sum + (v - m) ** 2, 0) / Math.max(1, length - 1)), min: sorted[0], median, max: sorted[length - 1] };
}

/** Pearson's correlation of the pairs' differences from their group's mean; over all where no group has two. Null without variance. */
export function correlation(pairs: readonly { group: string; x: number; y: number }[]): number | null {
  const groups = new Map<string, { x: number; y: number }[]>();
  for (const { group, x, y } of pairs) groups.set(group, [...(groups.get(group) ?? []), { x, y }]);
  const several = [...groups.values()].filter(({ length }) => length > 1);
  let [xx, yy, xy] = [0, 0, 0];
  for (const group of several.length > 0 ? several : [pairs]) {
    const [mx, my] = [mean(group.map(({ x }) => x)), mean(group.map(({ y }) => y))];
    for (const { x, y } of group) {
      xx += (x - mx) ** 2;
      yy += (y - my) ** 2;
      xy += (x - mx) * (y - my);
    }
  }
  return xx > 1e-12 && yy > 1e-12 ? xy / Math.sqrt(xx * yy) : null;
}

/** Counts in at most ten ranges of equal width; one a value, where there are few. */
export function histogram(values: readonly number[]): { from: number; to: number; count: number }[] {
  const different = [...new Set(values)].sort((a, b) => a - b);
  if (different.length <= 6) return different.map((value) => ({ from: value, to: value, count: values.filter((v) => v === value).length }));
  const [low, high] = [different[0], different[different.length - 1]];
  const bins = Array.from({ length: 10 }, (_, i) => ({ from: low + ((high - low) * i) / 10, to: low + ((high - low) * (i + 1)) / 10, count: 0 }));
  for (const value of values) bins[Math.min(9, Math.floor(((value - low) / (high - low)) * 10))].count++;
  return bins;
}
