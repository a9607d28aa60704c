import { EspalierAdamW, EspalierAddInPlace, EspalierSquaredNorm } from '../fused-kernels';
import type { AdamWAttrs, AdamWInputs, AddInPlaceAttrs, AddInPlaceInputs, SquaredNormInputs } from '../fused-kernels';
import { nativeKernel } from './kernel';

export const optimiserKernels = [
  nativeKernel<AdamWInputs, AdamWAttrs>(EspalierAdamW, ({ inputs: { param, grad, m, v }, attrs, backend }) => {
    const [p, g, first, second] = [param, grad, m, v].map((x) => backend.floats(x));
    backend.binding.adamW(p, g, first, second, attrs.step, attrs.learningRate, attrs.beta1, attrs.beta2, attrs.eps, attrs.weightDecay, attrs.gradScale);
    backend.weights.changed(param.dataId as object);
    return [backend.share(param), backend.share(m), backend.share(v)];
  }),
  nativeKernel<AddInPlaceInputs, AddInPlaceAttrs>(EspalierAddInPlace, ({ inputs: { target, value }, attrs: { scale }, backend }) => {
    const [into, from] = [backend.floats(target), backend.floats(value)];
    backend.binding.addInPlace(into, from.buffer === into.buffer ? from.slice() : from, scale);
    backend.weights.changed(target.dataId as object);
    return backend.share(target);
  }),
  nativeKernel<SquaredNormInputs>(EspalierSquaredNorm, ({ inputs: { x }, backend }) => {
    const out = backend.output([]);
    out.values[0] = backend.binding.squaredSum(backend.floats(x));
    return out.info;
  }),
];
