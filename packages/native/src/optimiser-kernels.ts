import type { TensorInfo } from '@tensorflow/tfjs-core';

// The fused kernels of the optimiser: a part of `fused-kernels.ts`, which says how to read them.

/** `target`, `value` of one shape → `target + scale * value`. Consumes `target`. Gradient accumulation. No gradient of its own. */
export const EspalierAddInPlace = 'EspalierAddInPlace';
export interface AddInPlaceInputs {
  target: TensorInfo;
  value: TensorInfo;
}
export interface AddInPlaceAttrs {
  scale: number;
}

/** Any number of tensors of any shapes, numbered → `Σ x²` over all as a scalar `[]`, accumulated in float64 (on `native`) before it is rounded. */
export const EspalierSquaredNorm = 'EspalierSquaredNorm';

/**
 * One step of AdamW (Loshchilov & Hutter 2019, algorithm 2; PyTorch's order) → `[param, m, v]`. Consumes `param`, `m` and `v`.
 * `g = gradScale * grad`; `param *= 1 - learningRate * weightDecay`; `m = beta1 m + (1 - beta1) g`; `v = beta2 v + (1 - beta2) g²`;
 * `param -= learningRate / (1 - beta1^step) * m / (sqrt(v) / sqrt(1 - beta2^step) + eps)`. `step` counts from 1.
 */
export const EspalierAdamW = 'EspalierAdamW';
export interface AdamWInputs {
  param: TensorInfo;
  grad: TensorInfo;
  m: TensorInfo;
  v: TensorInfo;
}
export interface AdamWAttrs {
  learningRate: number;
  beta1: number;
  beta2: number;
  eps: number;
  weightDecay: number;
  step: number;
  gradScale: number;
}

/** {@link EspalierAdamW} on all parameters at once, in place → nothing. Only where kernels work in place. */
export const EspalierAdamWTogether = 'EspalierAdamWTogether';
export interface AdamWTogetherAttrs extends Omit<AdamWAttrs, 'learningRate' | 'weightDecay'> {
  params: readonly TensorInfo[];
  grads: readonly TensorInfo[];
  m: readonly TensorInfo[];
  v: readonly TensorInfo[];
  learningRates: readonly number[];
  weightDecays: readonly number[];
}

/** → zeros of these shapes, side by side in memory that is not used again for others: for what lives as long as the model. Only on `native`. */
export const EspalierZerosTogether = 'EspalierZerosTogether';
export interface ZerosTogetherAttrs {
  shapes: readonly number[][];
}
