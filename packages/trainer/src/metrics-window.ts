import type { Metrics, MetricSums } from '@espalier/spec';

/** Metrics of the logging window that is open: sums with weights, averaged when the window closes. Numbers that are not finite are left out. */
export class MetricsWindow {
  constructor(private sums: MetricSums = {}) {}

  add(name: string, sum: number, weight = 1): void {
    const entry = (this.sums[name] ??= { sum: 0, weight: 0 });
    if (!Number.isFinite(sum) || !(weight > 0)) return;
    entry.sum += sum;
    entry.weight += weight;
  }

  addSums(sums: MetricSums, prefix = ''): void {
    for (const [name, { sum, weight }] of Object.entries(sums)) this.add(prefix + name, sum, weight);
  }

  addAll(metrics: Metrics): void {
    for (const [name, value] of Object.entries(metrics)) this.add(name, value);
  }

  get empty(): boolean {
    return Object.keys(this.sums).length === 0;
  }

  /** The averages (NaN where nothing applied), and a new window. */
  take(): Metrics {
    const metrics = Object.fromEntries(Object.entries(this.sums).map(([name, { sum, weight }]) => [name, weight > 0 ? sum / weight : NaN]));
    this.sums = {};
    return metrics;
  }

  state(): MetricSums {
    return structuredClone(this.sums);
  }
}
