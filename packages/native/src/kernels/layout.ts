import { Concat, GatherV2, Slice, slice_util, Transpose, util } from '@tensorflow/tfjs-core';
import type { TensorInfo } from '@tensorflow/tfjs-core';
import { cpuKernel, nativeKernel, sizeOf, waitingKernel } from './kernel';

/** Copies the box `begin`, `size` of `x` row by row; a row is the longest run that is whole. */
function copyBox(from: Float32Array, shape: readonly number[], begin: readonly number[], size: readonly number[], to: Float32Array): void {
  let inner = shape.length;
  let run = 1; // floats that lie together in both
  while (inner > 0 && size[inner - 1] === shape[inner - 1]) run *= shape[--inner];
  if (inner > 0) run *= size[--inner];
  const strides = util.computeStrides([...shape]).concat(1);
  const start = begin.reduce((sum, b, i) => sum + b * (strides[i] ?? 1), 0);
  const outer = size.slice(0, inner);
  const index = outer.map(() => 0);
  for (let done = 0, source = start; done < to.length; done += run) {
    to.set(from.subarray(source, source + run), done);
    for (let i = inner - 1; i >= 0; i--) {
      source += strides[i];
      if (++index[i] < outer[i]) break;
      source -= strides[i] * outer[i];
      index[i] = 0;
    }
  }
}

export const layoutKernels = [
  waitingKernel<{ x: TensorInfo }, { perm: number[] }>(Transpose, (call) => {
    const { inputs: { x }, attrs: { perm }, backend } = call;
    if (x.dtype !== 'float32' || sizeOf(x.shape) === 0) return cpuKernel(Transpose, call);
    const y = backend.output(perm.map((axis) => x.shape[axis]));
    backend.later.permute(backend.floats(x), Int32Array.from(x.shape), Int32Array.from(perm), y.values);
    return y.info;
  }),

  // The CPU backend's kernel returns a view, which would keep the buffer out of the pool.
  nativeKernel<{ x: TensorInfo }, { begin: number[]; size: number[] }>(Slice, (call) => {
    const { inputs: { x }, backend } = call;
    if (x.dtype !== 'float32') return cpuKernel(Slice, call);
    const [begin, size] = slice_util.parseSliceParams(x as Parameters<typeof slice_util.parseSliceParams>[0], call.attrs.begin, call.attrs.size);
    slice_util.assertParamsValid(x as Parameters<typeof slice_util.assertParamsValid>[0], begin, size);
    const y = backend.output(size);
    if (y.values.length > 0) copyBox(backend.floats(x), x.shape, begin, size, y.values);
    return y.info;
  }),

  nativeKernel<TensorInfo[], { axis: number }>(Concat, (call) => {
    const { backend } = call;
    const all = call.inputs;
    const axis = util.parseAxisParam(call.attrs.axis, all[0].shape)[0];
    const parts = all.filter((part) => sizeOf(part.shape) > 0);
    const fits = parts.every((part) => part.dtype === 'float32' && part.shape.every((d, i) => i === axis || d === parts[0].shape[i]));
    if (parts.length < 2 || !fits || all.some((part) => part.dtype !== 'float32')) return cpuKernel(Concat, call);
    const shape = [...parts[0].shape];
    shape[axis] = parts.reduce((sum, part) => sum + part.shape[axis], 0);
    const y = backend.output(shape);
    const outer = sizeOf(shape.slice(0, axis));
    const stride = sizeOf(shape.slice(axis));
    let start = 0;
    for (const part of parts) {
      const from = backend.floats(part);
      const width = from.length / outer;
      for (let i = 0; i < outer; i++) y.values.set(outer === 1 ? from : from.subarray(i * width, (i + 1) * width), i * stride + start);
      start += width;
    }
    return y.info;
  }),

  nativeKernel<{ x: TensorInfo; indices: TensorInfo }, { axis: number; batchDims: number }>(GatherV2, (call) => {
    const { inputs: { x, indices }, attrs: { axis, batchDims }, backend } = call;
    const rows = x.shape[0];
    const ids = backend.data.get(indices.dataId).values;
    const simple = x.dtype === 'float32' && util.parseAxisParam(axis, x.shape)[0] === 0 && (batchDims ?? 0) === 0 && ids instanceof Int32Array && indices.dtype === 'int32';
    if (!simple || sizeOf(x.shape) === 0 || ids.length === 0 || ids.some((id) => id < 0 || id >= rows)) return cpuKernel(GatherV2, call);
    const y = backend.output([...indices.shape, ...x.shape.slice(1)]);
    backend.binding.gatherRows(backend.floats(x), ids, y.values, rows, sizeOf(x.shape) / rows);
    return y.info;
  }),
];
