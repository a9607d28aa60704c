import { EspalierLayerNorm, EspalierLayerNormGrad, EspalierRmsNorm, EspalierRmsNormGrad } from '../fused-kernels';
import type { LayerNormGradInputs, LayerNormInputs, NormAttrs, RmsNormGradInputs, RmsNormInputs } from '../fused-kernels';
import { waitingKernel, rowsOf } from './kernel';

export const normKernels = [
  waitingKernel<RmsNormInputs, NormAttrs>(EspalierRmsNorm, ({ inputs: { x, weight }, attrs: { eps }, backend }) => {
    const { rows, width } = rowsOf(x);
    const y = backend.output(x.shape);
    backend.later.rmsNorm(backend.floats(x), backend.floats(weight), y.values, rows, width, eps);
    return y.info;
  }),
  waitingKernel<RmsNormGradInputs, NormAttrs>(EspalierRmsNormGrad, ({ inputs: { dy, x, weight, existing }, attrs: { eps }, backend }) => {
    const { rows, width } = rowsOf(x);
    const dx = existing ? { values: backend.floats(existing), info: backend.share(existing) } : backend.output(x.shape);
    const dweight = backend.output(weight.shape);
    backend.later.rmsNormGrad(backend.floats(dy), backend.floats(x), backend.floats(weight), dx.values, dweight.values, rows, width, eps, existing !== undefined);
    return [dx.info, dweight.info];
  }),
  waitingKernel<LayerNormInputs, NormAttrs>(EspalierLayerNorm, ({ inputs: { x, weight, bias }, attrs: { eps }, backend }) => {
    const { rows, width } = rowsOf(x);
    const y = backend.output(x.shape);
    backend.later.layerNorm(backend.floats(x), backend.floats(weight), backend.floats(bias), y.values, rows, width, eps);
    return y.info;
  }),
  waitingKernel<LayerNormGradInputs, NormAttrs>(EspalierLayerNormGrad, ({ inputs: { dy, x, weight }, attrs: { eps }, backend }) => {
    const { rows, width } = rowsOf(x);
    const dx = backend.output(x.shape);
    const dweight = backend.output(weight.shape);
    const dbias = backend.output(weight.shape);
    backend.later.layerNormGrad(backend.floats(dy), backend.floats(x), backend.floats(weight), dx.values, dweight.values, dbias.values, rows, width, eps);
    return [dx.info, dweight.info, dbias.info];
  }),
];
