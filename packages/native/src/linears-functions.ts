import type { PackedWeight, Precision, WeightPrecision } from './binding';

/**
 * Linear layers of one input x [M, K]: layer i has w[i] [N, K]. Its rows are packed once for all of them. `packed`: each weight in this precision, or null, and it is packed on the way.
 * Nothing may be empty.
 */
export interface LinearsFunctions {
  /** y[i] [M, N] = x w[i]ᵀ + bias[i]. */
  linears(y: Float32Array[], x: Float32Array, w: Float32Array[], packed: (PackedWeight | null)[], bias: (Float32Array | null)[], m: number, k: number, precision: WeightPrecision): void;
  /** dx [M, K] = Σ dy[i] w[i]. */
  linearsDx(dx: Float32Array, dy: Float32Array[], w: Float32Array[], m: number, k: number, precision: Precision): void;
  /** The same, and dw[i] [N, K] = dy[i]ᵀ x. */
  linearsGrad(dx: Float32Array, dw: Float32Array[], dy: Float32Array[], x: Float32Array, w: Float32Array[], m: number, k: number, precision: Precision): void;
  /**
   * With low-rank adapters a[i] [r, K], b[i] [N, r], each layer with a rank of its own: y[i] [M, N] = x w[i]ᵀ + bias[i] + h[i] b[i]ᵀ, h [M, Σ r] the h[i] = scales[i] · x a[i]ᵀ side by side.
   */
  adaptedLinears(
    y: Float32Array[], h: Float32Array, x: Float32Array, w: Float32Array[], packed: (PackedWeight | null)[], bias: (Float32Array | null)[], a: Float32Array[], b: Float32Array[],
    scales: Float64Array, m: number, k: number, precision: WeightPrecision,
  ): void;
  /** Their backward pass, w and bias frozen, h as it came from the forward pass: dx [M, K], da[i] [r, K], db[i] [N, r]. Sums over rows do not depend on the number of threads. */
  adaptedLinearsGrad(
    dx: Float32Array, da: Float32Array[], db: Float32Array[], dy: Float32Array[], x: Float32Array, h: Float32Array, w: Float32Array[], a: Float32Array[], b: Float32Array[],
    scales: Float64Array, m: number, k: number, precision: Precision,
  ): void;
}
