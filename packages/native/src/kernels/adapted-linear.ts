import type { TensorInfo } from '@tensorflow/tfjs-core';
import { EspalierAdaptedLinear, EspalierAdaptedLinearGrad } from '../fused-kernels';
import type { AdaptedLinearAttrs, AdaptedLinearGradInputs, AdaptedLinearInputs } from '../fused-kernels';
import { nativeKernel } from './kernel';

export const adaptedLinearKernels = [
  nativeKernel<AdaptedLinearInputs, AdaptedLinearAttrs>(EspalierAdaptedLinear, ({ inputs: { x, w, bias, a, b }, attrs: { scale }, backend }) => {
    const [m, n, k, r] = [x.shape[0], w.shape[0], w.shape[1], a.shape[0]];
    const [y, h] = [backend.output([m, n]), backend.output([m, r])];
    const floats = (tensor: TensorInfo | undefined) => (tensor ? backend.floats(tensor) : null);
    if (m > 0) backend.binding.adaptedLinear(y.values, h.values, backend.floats(x), backend.floats(w), backend.packed(w, n, k, backend.weightPrecision, m), floats(bias), backend.floats(a), backend.floats(b), scale, m, n, k, r, backend.weightPrecision);
    return [y.info, h.info];
  }),
  nativeKernel<AdaptedLinearGradInputs, AdaptedLinearAttrs>(EspalierAdaptedLinearGrad, ({ inputs, attrs: { scale }, backend }) => {
    const { dy, x, h, w, a, b } = inputs;
    const [m, n, k, r] = [dy.shape[0], w.shape[0], w.shape[1], a.shape[0]];
    const [dx, da, db] = [x, a, b].map(({ shape }) => backend.output([...shape]));
    if (m > 0) backend.binding.adaptedLinearGrad(dx.values, da.values, db.values, backend.floats(dy), backend.floats(x), backend.floats(h), backend.floats(w), backend.floats(a), backend.floats(b), scale, m, n, k, r, backend.precision);
    else for (const { values } of [da, db]) values.fill(0);
    return [dx.info, da.info, db.info];
  }),
];
