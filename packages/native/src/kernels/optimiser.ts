import type { TensorInfo } from '@tensorflow/tfjs-core';
import { EspalierAdamWTogether, EspalierAddInPlace, EspalierSquaredNorm, EspalierZerosTogether } from '../fused-kernels';
import type { AdamWTogetherAttrs, AddInPlaceAttrs, AddInPlaceInputs, ZerosTogetherAttrs } from '../fused-kernels';
import { nativeKernel, sizeOf, waitingKernel } from './kernel';

/** Each tensor begins at a cache line. */
const lineBytes = 64;
const bytesOf = (shape: readonly number[]) => Math.ceil((4 * sizeOf(shape)) / lineBytes) * lineBytes;
/** Tensors that lie together take so much at most: V8 bounds what one array can be. */
const pieceBytes = 2 ** 30;

export const optimiserKernels = [
  nativeKernel<object, AdamWTogetherAttrs>(EspalierAdamWTogether, ({ attrs, backend }) => {
    const [params, grads, m, v] = [attrs.params, attrs.grads, attrs.m, attrs.v].map((each) => each.map((x) => backend.floats(x)));
    backend.binding.adamW(params, grads, m, v, Float64Array.from(attrs.learningRates), Float64Array.from(attrs.weightDecays), attrs.step, attrs.beta1, attrs.beta2, attrs.eps, attrs.gradScale);
    for (const { dataId } of attrs.params) backend.weights.changed(dataId as object);
    return [];
  }),
  nativeKernel<object, ZerosTogetherAttrs>(EspalierZerosTogether, ({ attrs: { shapes }, backend }) => {
    const made: TensorInfo[] = [];
    for (let next = 0; next < shapes.length; ) {
      const first = next;
      const starts: number[] = [];
      let bytes = 0;
      while (next < shapes.length && (next === first || bytes + bytesOf(shapes[next]) <= pieceBytes)) {
        starts.push(bytes);
        bytes += bytesOf(shapes[next++]);
      }
      const memory = backend.binding.allocateZeros(Math.max(lineBytes, bytes));
      for (const [i, shape] of shapes.slice(first, next).entries()) made.push({ dataId: backend.write(new Float32Array(memory, starts[i], sizeOf(shape)), shape, 'float32'), shape, dtype: 'float32' });
    }
    return made;
  }),
  waitingKernel<AddInPlaceInputs, AddInPlaceAttrs>(EspalierAddInPlace, ({ inputs: { target, value }, attrs: { scale }, backend }) => {
    const [into, from] = [backend.floats(target), backend.floats(value)];
    const shared = from.buffer === into.buffer;
    if (shared) backend.settle();
    backend.later.addInPlace(into, shared ? from.slice() : from, scale);
    backend.weights.changed(target.dataId as object);
    return backend.share(target);
  }),
  nativeKernel<TensorInfo[]>(EspalierSquaredNorm, ({ inputs, backend }) => {
    const out = backend.output([]);
    out.values[0] = backend.binding.squaredSum(Object.values(inputs).map((x) => backend.floats(x)));
    return out.info;
  }),
];
