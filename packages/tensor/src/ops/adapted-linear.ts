import { EspalierAdaptedLinear, EspalierAdaptedLinearGrad } from '@espalier/native';
import type { AdaptedLinearAttrs, AdaptedLinearGradInputs, AdaptedLinearInputs } from '@espalier/native';
import { add, matMul, mul } from '@tensorflow/tfjs-core';
import type { Tensor, Tensor2D } from '@tensorflow/tfjs-core';
import { check, fusedGradient, portableKernel, run, sharedGradients } from './kernel';
import { isFrozen, linear } from './linear';
import { residualAdd } from './residual-add';

/** A low-rank adapter of a linear layer: `a [r, K]`, `b [N, r]`; `scale` is LoRA's `alpha / r`. */
export interface LowRankAdapter {
  a: Tensor;
  b: Tensor;
  scale: number;
}

/**
 * `y = x wᵀ + bias + scale · (x aᵀ) bᵀ` (Hu et al. 2021, eq. 3). Where `w` and `bias` are frozen, as they are beside an adapter, one kernel computes it, and its whole
 * backward pass another.
 * @param x `[T, K]`
 * @param w `[N, K]`
 * @param bias `[N]`
 * @returns `[T, N]`
 */
export function adaptedLinear(x: Tensor, w: Tensor, bias: Tensor | undefined, { a, b, scale }: LowRankAdapter): Tensor {
  check(a.rank === 2 && b.rank === 2 && a.shape[1] === x.shape[1] && b.shape[0] === w.shape[0] && a.shape[0] === b.shape[1], 'adaptedLinear', () => `a [${a.shape}] and b [${b.shape}] do not adapt a weight [${w.shape}]`);
  if (!isFrozen(w) || (bias && !isFrozen(bias))) return residualAdd(linear(x, w, bias), linear(linear(x, a), b), scale);
  check(x.rank === 2 && w.rank === 2 && x.shape[1] === w.shape[1], 'adaptedLinear', () => `x [${x.shape}] and w [${w.shape}] do not share their last dimension`);
  return besideFrozen(x, w, bias, { a, b, scale });
}

/** The same, with no gradient for `w` and `bias`. */
export function besideFrozen(x: Tensor, w: Tensor, bias: Tensor | undefined, { a, b, scale }: LowRankAdapter): Tensor {
  const [y, h] = run<Tensor[]>(EspalierAdaptedLinear, { x, w, bias, a, b }, { scale } satisfies AdaptedLinearAttrs);
  h.dispose(); // the tape keeps its own
  return y;
}

portableKernel<AdaptedLinearInputs, AdaptedLinearAttrs>(EspalierAdaptedLinear, ({ x, w, bias, a, b }, { scale }) => {
  const h = mul(matMul(x as Tensor2D, a as Tensor2D, false, true), scale);
  return [add(linear(x, w, bias), matMul(h as Tensor2D, b as Tensor2D, false, true)), h];
});

portableKernel<AdaptedLinearGradInputs, AdaptedLinearAttrs>(EspalierAdaptedLinearGrad, ({ dy, x, h, w, a, b }, { scale }) => {
  const g = mul(matMul(dy as Tensor2D, b as Tensor2D), scale) as Tensor2D;
  return [add(matMul(dy as Tensor2D, w as Tensor2D), matMul(g, a as Tensor2D)), matMul(g, x as Tensor2D, true, false), matMul(dy as Tensor2D, h as Tensor2D, true, false)];
});

fusedGradient<AdaptedLinearAttrs>(EspalierAdaptedLinear, { inputsToSave: ['x', 'w', 'a', 'b'], outputsToSave: [false, true], dys: 1 }, ([dy], [x, w, a, b, h], attrs) => {
  const gradient = sharedGradients(() => run<Tensor[]>(EspalierAdaptedLinearGrad, { dy, x, h, w, a, b }, attrs));
  return { x: gradient(0), a: gradient(1), b: gradient(2) };
});
