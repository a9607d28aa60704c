import { EspalierLinear, EspalierLinearGradBias } from '../fused-kernels';
import type { LinearGradBiasInputs, LinearInputs } from '../fused-kernels';
import { waitingKernel } from './kernel';

export const linearKernels = [
  waitingKernel<LinearInputs>(EspalierLinear, ({ inputs: { x, w, bias }, backend }) => {
    const [m, k] = x.shape;
    const n = w.shape[0];
    const y = backend.output([m, n]);
    const weight = backend.floats(w);
    const shift = bias ? backend.floats(bias) : null;
    const packed = backend.packed(w, n, k, backend.weightPrecision, m);
    if (packed) backend.later.linear(y.values, backend.floats(x), packed, shift, m);
    else backend.later.linearUnpacked(y.values, backend.floats(x), weight, shift, m, n, k, backend.precision);
    return y.info;
  }),
  waitingKernel<LinearGradBiasInputs>(EspalierLinearGradBias, ({ inputs: { dy }, backend }) => {
    const [m, n] = dy.shape;
    const db = backend.output([n]);
    backend.later.columnSums(db.values, backend.floats(dy), m, n, false);
    return db.info;
  }),
];
