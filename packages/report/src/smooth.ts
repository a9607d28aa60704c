/**
 * An exponential moving average without the pull of its beginning, as TensorBoard draws it: `y_i = (w y_{i-1} + (1 - w) x_i) / (1 - w^i)`. Values that are
 * not finite stay what they are and leave the average alone.
 *
 * @param weight 0 (nothing) to below 1
 */
export function smooth(values: ArrayLike<number>, weight: number): Float32Array {
  const smoothed = new Float32Array(values.length);
  let last = 0;
  let mass = 0; // 1 - w^i
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (!Number.isFinite(value)) {
      smoothed[i] = value;
      continue;
    }
    last = weight * last + (1 - weight) * value;
    mass = weight * mass + (1 - weight);
    smoothed[i] = last / mass;
  }
  return smoothed;
}
