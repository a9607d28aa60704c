import { constant, rowMean, type ImportanceSamplingLevel, type Rows, type Vector } from '@espalier/objectives';
import type { MetricSums } from '@espalier/spec';

type Metric = MetricSums[string];

const total = (values: ArrayLike<number>) => Array.from(values).reduce((a, b) => a + b, 0);

/** The mean of [A] over tokens; of nothing, 0. */
export function tokenMetric(values: Vector): Metric {
  return { sum: total(values.values), weight: Math.max(values.size, 1) };
}

/** The mean over the rows that are not empty of a number that is the same for all tokens of a row. */
export function rowMetric(values: Vector, rows: Rows): Metric {
  return { sum: total(rowMean(constant(values.values), rows).values), weight: Math.max(nonEmpty(rows).length, 1) };
}

const nonEmpty = (rows: Rows) => Array.from({ length: rows.count }, (_, r) => r).filter((r) => rows.offsets[r + 1] > rows.offsets[r]);

/** 1 where the test holds. [A] */
function marks(ratio: Vector, advantages: Vector, test: (ratio: number, advantage: number) => boolean): Vector {
  return constant(ratio.values.map((r, i) => (test(r, advantages.values[i]) ? 1 : 0)));
}

/** Share of tokens (of sequences, at sequence level, where all tokens of one agree). */
function shareOf(marked: Vector, rows: Rows, level: ImportanceSamplingLevel): Metric {
  return level === 'token' ? tokenMetric(marked) : { sum: total(rowMean(marked, rows).values), weight: Math.max(rows.count, 1) };
}

export const clipMetrics = {
  share(ratio: Vector, advantages: Vector, rows: Rows, level: ImportanceSamplingLevel, test: (ratio: number, advantage: number) => boolean): Metric {
    return shareOf(marks(ratio, advantages, test), rows, level);
  },

  /** TRL's `clip_ratio/*`. The least and the largest share of a sequence are not sums: over micro-batches they are averaged, as in TRL. */
  all(ratio: Vector, advantages: Vector, rows: Rows, level: ImportanceSamplingLevel, low: number, high: number): MetricSums {
    const isLow = marks(ratio, advantages, (r, a) => r < low && a < 0);
    const isHigh = marks(ratio, advantages, (r, a) => r > high && a > 0);
    const region = constant(isLow.values.map((v, i) => Math.max(v, isHigh.values[i])));
    const metrics: MetricSums = {
      'clip_ratio/low_mean': shareOf(isLow, rows, level),
      'clip_ratio/high_mean': shareOf(isHigh, rows, level),
      'clip_ratio/region_mean': shareOf(region, rows, level),
    };
    const filled = nonEmpty(rows);
    if (filled.length > 0) {
      const lowOf = rowMean(isLow, rows).values;
      const highOf = rowMean(isHigh, rows).values;
      metrics['clip_ratio/low_min'] = { sum: Math.min(...filled.map((r) => lowOf[r])), weight: 1 };
      metrics['clip_ratio/high_max'] = { sum: Math.max(...filled.map((r) => highOf[r])), weight: 1 };
    }
    return metrics;
  },
};
