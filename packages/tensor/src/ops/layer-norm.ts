import { EspalierLayerNorm, EspalierLayerNormGrad } from '@espalier/native';
import type { LayerNormGradInputs, LayerNormInputs, NormAttrs } from '@espalier/native';
import { add, mean, mul, rsqrt, square, sub, sum } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { check, fusedGradient, portableKernel, run, sharedGradients } from './kernel';
import { leading } from './rms-norm';

/**
 * `(x - mean) / sqrt(var + eps) * weight + bias`, over the last dimension, with the biased variance (Ba et al. 2016).
 * @param x `[..., D]`
 * @param weight `[D]`
 * @param bias `[D]`
 */
export function layerNorm(x: Tensor, weight: Tensor, bias: Tensor, eps: number): Tensor {
  check(x.shape.at(-1) === weight.size && weight.size === bias.size, 'layerNorm', () => `x [${x.shape}], weight [${weight.shape}] and bias [${bias.shape}] do not fit`);
  return run(EspalierLayerNorm, { x, weight, bias }, { eps } satisfies NormAttrs);
}

function normalized(x: Tensor, eps: number): { xhat: Tensor; r: Tensor } {
  const centred = sub(x, mean(x, -1, true));
  const r = rsqrt(add(mean(square(centred), -1, true), eps)); // [..., 1]
  return { xhat: mul(centred, r), r };
}

portableKernel<LayerNormInputs, NormAttrs>(EspalierLayerNorm, ({ x, weight, bias }, { eps }) => add(mul(normalized(x, eps).xhat, weight), bias));

portableKernel<LayerNormGradInputs, NormAttrs>(EspalierLayerNormGrad, ({ dy, x, weight }, { eps }) => {
  const { xhat, r } = normalized(x, eps);
  const dxhat = mul(dy, weight);
  // dx = r (dx̂ - mean(dx̂) - x̂ mean(dx̂ x̂))
  const dx = mul(r, sub(sub(dxhat, mean(dxhat, -1, true)), mul(xhat, mean(mul(dxhat, xhat), -1, true))));
  return [dx, sum(mul(dy, xhat), leading(x)), sum(dy, leading(x))];
});

fusedGradient<NormAttrs>(EspalierLayerNorm, { inputsToSave: ['x', 'weight'] }, ([dy], [x, weight], attrs) => {
  const gradient = sharedGradients(() => run<Tensor[]>(EspalierLayerNormGrad, { dy, x, weight }, attrs));
  return { x: gradient(0), weight: gradient(1), bias: gradient(2) };
});
