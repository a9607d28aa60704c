/** Count, mean and sum of squared differences: Welford's, saved with checkpoints. */
export interface Moments {
  count: number;
  mean: number;
  squares: number;
}

export const noMoments: Moments = { count: 0, mean: 0, squares: 0 };

export function withValues(moments: Moments, values: readonly number[]): Moments {
  let { count, mean, squares } = moments;
  for (const value of values) {
    count++;
    const before = value - mean;
    mean += before / count;
    squares += before * (value - mean);
  }
  return { count, mean, squares };
}

/** What is added to a standard deviation before it divides: TRL's. */
const tiny = 1e-4;

/** (x − mean) / (standard deviation + 1e-4), with Bessel's correction; 0 for fewer than two. */
export const standardise = (value: number, { count, mean, squares }: Moments): { value: number; scale: number } => {
  if (count < 2) return { value: 0, scale: 0 };
  const scale = 1 / (Math.sqrt(squares / (count - 1)) + tiny);
  return { value: (value - mean) * scale, scale };
};
