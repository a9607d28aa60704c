import type { MetricSums } from '@espalier/spec';

/** Metrics as plain numbers; what applied to nothing is left out. */
export function means(metrics: MetricSums): Record<string, number> {
  return Object.fromEntries(Object.entries(metrics).flatMap(([name, { sum, weight }]) => (weight > 0 ? [[name, sum / weight]] : [])));
}
