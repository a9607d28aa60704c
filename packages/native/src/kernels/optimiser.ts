import type { TensorInfo } from '@tensorflow/tfjs-core';
import { EspalierAdamWTogether, EspalierAddInPlace, EspalierSquaredNorm, EspalierZerosTogether } from '../fused-kernels';
import type { AdamWTogetherAttrs, AddInPlaceAttrs, AddInPlaceInputs, ZerosTogetherAttrs } from '../fused-kernels';
import { nativeKernel, sizeOf } from './kernel';

export const optimiserKernels = [
  nativeKernel<object, AdamWTogetherAttrs>(EspalierAdamWTogether, ({ attrs, backend }) => {
    const [params, grads, m, v] = [attrs.params, attrs.grads, attrs.m, attrs.v].map((each) => each.map((x) => backend.floats(x)));
    backend.binding.adamW(params, grads, m, v, Float64Array.from(attrs.learningRates), Float64Array.from(attrs.weightDecays), attrs.step, attrs.beta1, attrs.beta2, attrs.eps, attrs.gradScale);
    for (const { dataId } of attrs.params) backend.weights.changed(dataId as object);
    return [];
  }),
  nativeKernel<object, ZerosTogetherAttrs>(EspalierZerosTogether, ({ attrs: { shapes }, backend }) => {
    const line = 16; // floats: each tensor begins at one
    const sizes = shapes.map((shape) => Math.ceil(sizeOf(shape) / line) * line);
    const memory = backend.binding.allocateZeros(4 * Math.max(line, sizes.reduce((sum, size) => sum + size, 0)));
    let start = 0;
    return shapes.map((shape, i) => {
      const values = new Float32Array(memory, 4 * start, sizeOf(shape));
      start += sizes[i];
      return { dataId: backend.write(values, shape, 'float32'), shape, dtype: 'float32' };
    });
  }),
  nativeKernel<AddInPlaceInputs, AddInPlaceAttrs>(EspalierAddInPlace, ({ inputs: { target, value }, attrs: { scale }, backend }) => {
    const [into, from] = [backend.floats(target), backend.floats(value)];
    backend.binding.addInPlace(into, from.buffer === into.buffer ? from.slice() : from, scale);
    backend.weights.changed(target.dataId as object);
    return backend.share(target);
  }),
  nativeKernel<TensorInfo[]>(EspalierSquaredNorm, ({ inputs, backend }) => {
    const out = backend.output([]);
    out.values[0] = backend.binding.squaredSum(Object.values(inputs).map((x) => backend.floats(x)));
    return out.info;
  }),
];
