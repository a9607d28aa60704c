import { EspalierGelu, EspalierGeluGrad, EspalierRotary, EspalierSwiglu, EspalierSwigluGrad } from '../fused-kernels';
import type { GeluGradInputs, GeluInputs, RotaryAttrs, RotaryInputs, SwigluGradInputs, SwigluInputs } from '../fused-kernels';
import { waitingKernel } from './kernel';

export const activationKernels = [
  waitingKernel<SwigluInputs>(EspalierSwiglu, ({ inputs: { gate, up }, backend }) => {
    const y = backend.output(gate.shape);
    backend.later.swiglu(backend.floats(gate), backend.floats(up), y.values);
    return y.info;
  }),
  waitingKernel<SwigluGradInputs>(EspalierSwigluGrad, ({ inputs: { dy, gate, up }, backend }) => {
    const dgate = backend.output(gate.shape);
    const dup = backend.output(up.shape);
    backend.later.swigluGrad(backend.floats(dy), backend.floats(gate), backend.floats(up), dgate.values, dup.values);
    return [dgate.info, dup.info];
  }),
  waitingKernel<GeluInputs>(EspalierGelu, ({ inputs: { x }, backend }) => {
    const y = backend.output(x.shape);
    backend.later.gelu(backend.floats(x), y.values);
    return y.info;
  }),
  waitingKernel<GeluGradInputs>(EspalierGeluGrad, ({ inputs: { dy, x }, backend }) => {
    const dx = backend.output(x.shape);
    backend.later.geluGrad(backend.floats(dy), backend.floats(x), dx.values);
    return dx.info;
  }),
  waitingKernel<RotaryInputs, RotaryAttrs>(EspalierRotary, ({ inputs: { x }, attrs, backend }) => {
    const [, heads, width] = x.shape;
    const y = backend.output(x.shape);
    backend.later.rotary(backend.floats(x), attrs.positions, attrs.invFreq, y.values, heads, width, attrs.scaling ?? 1, attrs.inverse);
    return y.info;
  }),
];
