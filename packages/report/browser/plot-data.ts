import uPlot from 'uplot';
import { minMaxIndices } from '../src/thin';
import { indexAt, type Curve } from './curves';

export interface PlotWindow {
  range: readonly [number, number];
  /** Pixels across. */
  width: number;
  smoothing: number;
  log: boolean;
}

/**
 * The part of some curves that a plot shows, no more points than its pixels can tell apart: for each curve the line as it was logged, and with smoothing a second
 * one. What a logarithm has no place for is a gap.
 */
export function plotData(curves: readonly Curve[], { range, width, smoothing, log }: PlotWindow): uPlot.AlignedData {
  const tables = curves.flatMap((curve) => {
    const from = Math.max(0, indexAt(curve.steps, range[0]) - 1);
    const to = Math.min(curve.steps.length, indexAt(curve.steps, range[1]) + 2);
    const lines = smoothing > 0 && !curve.few ? [curve.values, curve.smoothed(smoothing)] : [curve.values];
    return lines.map((values): uPlot.AlignedData => {
      const kept = minMaxIndices(values, from, to, Math.max(width, 50));
      const xs: number[] = [];
      const ys: (number | null)[] = [];
      for (const i of kept) {
        if (xs.length > 0 && curve.steps[i] === xs[xs.length - 1]) {
          xs.pop(); // of two records of one step the later one counts
          ys.pop();
        }
        xs.push(curve.steps[i]);
        ys.push(Number.isFinite(values[i]) && !(log && values[i] <= 0) ? values[i] : null);
      }
      return [xs, ys];
    });
  });
  return tables.length === 1 ? tables[0] : (uPlot.join(tables) as uPlot.AlignedData);
}

/** Whether a logarithmic scale has anything to show. */
export const hasPositive = (curves: readonly Curve[]): boolean => curves.some(({ values }) => values.some((value) => value > 0 && Number.isFinite(value)));

/** First and last step of some curves. */
export function extent(curves: readonly Curve[]): [number, number] {
  const least = Math.min(...curves.map(({ steps }) => steps[0]));
  const greatest = Math.max(...curves.map(({ steps }) => steps[steps.length - 1]));
  return least === greatest ? [least - 1, greatest + 1] : [least, greatest];
}
