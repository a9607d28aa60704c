import { decodeFloat32, decodeFloat64 } from '../src/column-codec';
import type { CurvesData, StageData } from '../src/page-data';
import { smooth } from '../src/smooth';

/** One metric of one stage. */
export interface Curve {
  stage: number;
  metric: string;
  steps: Float64Array;
  values: Float32Array;
  /** Points that the run has; more than are here when it was long. */
  total: number;
  /** So few points that each is shown, and none is smoothed: evaluations, short runs. */
  few: boolean;
  /** The curve under a smoothing weight; the last one asked for is kept. */
  smoothed(weight: number): Float32Array;
}

const fewPoints = 40;

/** The curves of a stage, decoded when they are first asked for. */
export function curvesOf(stage: StageData, index: number): Curve[] {
  const { axes, series }: CurvesData = stage.run.curves;
  const decoded = axes.map(decodeFloat64);
  return series.map(({ name, axis, values: text, total }) => {
    const values = decodeFloat32(text);
    let last: { weight: number; values: Float32Array } | undefined;
    return {
      stage: index,
      metric: name,
      steps: decoded[axis],
      values,
      total,
      few: values.length <= fewPoints,
      smoothed(weight) {
        if (weight === 0) return values;
        if (last?.weight !== weight) last = { weight, values: smooth(values, weight) };
        return last.values;
      },
    };
  });
}

/** First index whose step is at least `step`. */
export function indexAt(steps: ArrayLike<number>, step: number): number {
  let low = 0;
  let high = steps.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (steps[middle] < step) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The index whose step is closest. */
export function closest(steps: ArrayLike<number>, step: number): number {
  const at = indexAt(steps, step);
  if (at === 0) return 0;
  if (at === steps.length) return at - 1;
  return steps[at] - step < step - steps[at - 1] ? at : at - 1;
}

/** Last value that is a number. */
export function lastValue(values: ArrayLike<number>): number {
  for (let i = values.length - 1; i >= 0; i--) if (Number.isFinite(values[i])) return values[i];
  return NaN;
}

/** First value that is a number. */
export function firstValue(values: ArrayLike<number>): number {
  for (let i = 0; i < values.length; i++) if (Number.isFinite(values[i])) return values[i];
  return NaN;
}
