/** Mean and variance over all scores seen so far; plain numbers, saved with a checkpoint. */
export interface RunningMoments {
  mean: number;
  /** Σ (x − mean)² */
  squares: number;
  count: number;
}

export const noMoments: RunningMoments = { mean: 0, squares: 0, count: 0 };

/** The moments with further numbers taken in (Chan et al. 1979: parts are merged by their means). */
export function addMoments(before: RunningMoments, values: ArrayLike<number>): RunningMoments {
  if (values.length === 0) return before;
  const list = Array.from(values);
  const mean = list.reduce((a, b) => a + b, 0) / list.length;
  const squares = list.reduce((a, b) => a + (b - mean) ** 2, 0);
  const count = before.count + list.length;
  const delta = mean - before.mean;
  return { mean: before.mean + (delta * list.length) / count, squares: before.squares + squares + (delta * delta * before.count * list.length) / count, count };
}

/** The Bessel-corrected standard deviation; 1 where the numbers say nothing about it (fewer than two, or all alike). */
export function momentsStd({ squares, count }: RunningMoments): number {
  const std = count > 1 ? Math.sqrt(squares / (count - 1)) : 0;
  return std > 1e-8 ? std : 1;
}
