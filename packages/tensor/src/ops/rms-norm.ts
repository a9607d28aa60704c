import { EspalierRmsNorm, EspalierRmsNormGrad } from '@espalier/native';
import type { NormAttrs, RmsNormGradInputs, RmsNormInputs } from '@espalier/native';
import { add, mean, mul, rsqrt, square, sub, sum } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { addInPlace } from './add-in-place';
import { check, fusedGradient, portableKernel, run, sharedGradientsInto } from './kernel';

/**
 * `x / sqrt(mean(x²) + eps) * weight`, over the last dimension (Zhang & Sennrich 2019, eq. 4).
 * @param x `[..., D]`
 * @param weight `[D]`
 */
export function rmsNorm(x: Tensor, weight: Tensor, eps: number): Tensor {
  check(x.shape.at(-1) === weight.size, 'rmsNorm', () => `x [${x.shape}] and weight [${weight.shape}] do not fit`);
  return run(EspalierRmsNorm, { x, weight }, { eps } satisfies NormAttrs);
}

const inverseRms = (x: Tensor, eps: number) => rsqrt(add(mean(square(x), -1, true), eps)); // [..., 1]

/** All dimensions but the last. */
export const leading = (x: Tensor) => x.shape.slice(0, -1).map((_, i) => i);

portableKernel<RmsNormInputs, NormAttrs>(EspalierRmsNorm, ({ x, weight }, { eps }) => mul(mul(x, inverseRms(x, eps)), weight));

portableKernel<RmsNormGradInputs, NormAttrs>(EspalierRmsNormGrad, ({ dy, x, weight, existing }, { eps }) => {
  const r = inverseRms(x, eps);
  const xhat = mul(x, r);
  const dxhat = mul(dy, weight);
  // dx = r (dx̂ - x̂ mean(dx̂ x̂))
  const dx = mul(r, sub(dxhat, mul(xhat, mean(mul(dxhat, xhat), -1, true))));
  return [existing ? addInPlace(existing, dx) : dx, sum(mul(dy, xhat), leading(x))];
});

fusedGradient<NormAttrs>(EspalierRmsNorm, { inputsToSave: ['x', 'weight'] }, ([dy], [x, weight], attrs) => {
  const gradient = sharedGradientsInto((existing) => run<Tensor[]>(EspalierRmsNormGrad, { dy, x, weight, existing }, attrs));
  return { x: gradient(0), weight: gradient(1) };
});
