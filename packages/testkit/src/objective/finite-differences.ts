/**
 * The derivative of `f` at `x` by central differences with Richardson's extrapolation, with the sides apart. Points are rounded to fp32, as an objective sees them, and
 * differences are taken between the rounded ones in float64, so that rounding costs nothing.
 */
export function derivative(f: (x: number) => number, x: number, step: number): { central: number; left: number; right: number } {
  const at = f(x);
  const side = (h: number) => {
    const point = Math.fround(x + h);
    return { h: point - x, slope: (f(point) - at) / (point - x) };
  };
  const central = (h: number) => {
    const [above, below] = [side(h), side(-h)];
    // Weights that cancel the second derivative even where rounding made the two steps differ.
    return (above.slope * -below.h + below.slope * above.h) / (above.h - below.h);
  };
  return { central: (4 * central(step / 2) - central(step)) / 3, left: side(-step / 4).slope, right: side(step / 4).slope };
}

/**
 * Whether `slope` is the derivative of `f` at `x`: a step that a kink (a clip, a hinge) falls into gives way to smaller ones; right at a kink, what lies between
 * the derivatives of the two sides will do.
 * @param coarse the function is rounded to fp32: a larger step is tried too
 * @returns null, or the derivative that was found
 */
export function wrongDerivative(f: (x: number) => number, x: number, slope: number, allowed: (expected: number) => number, coarse = false): number | null {
  let best = { central: NaN, left: NaN, right: NaN };
  for (const step of coarse ? [2 ** -6, 2 ** -3, 2 ** -9] : [2 ** -6, 2 ** -9, 2 ** -12]) {
    best = derivative(f, x, step);
    if (Math.abs(best.central - slope) <= allowed(best.central)) return null;
  }
  const [low, high] = [Math.min(best.left, best.right), Math.max(best.left, best.right)];
  const kink = high - low > 0.05 * Math.max(Math.abs(low), Math.abs(high), 1e-9);
  return kink && slope >= low - allowed(low) && slope <= high + allowed(high) ? null : best.central;
}
