import { Max, Mean, Sum, util } from '@tensorflow/tfjs-core';
import type { TensorInfo } from '@tensorflow/tfjs-core';
import { cpuKernel, waitingKernel, sizeOf } from './kernel';
import type { NativeKernel } from './kernel';

interface ReductionAttrs {
  /** Of sums and means. */
  axis?: number | number[];
  /** Of maxima. */
  reductionIndices?: number | number[];
  keepDims: boolean;
}

/** Sums (0), means (1) and maxima (2) over the last dimensions; sums over the first ones too. What lies between goes to the CPU backend's kernel. */
function reduction(kernelName: string, kind: number): NativeKernel {
  return waitingKernel<{ x: TensorInfo }, ReductionAttrs>(kernelName, (call) => {
    const { x } = call.inputs;
    const { backend, attrs } = call;
    const axes = util.parseAxisParam(attrs.reductionIndices ?? attrs.axis!, x.shape).sort((a, b) => a - b);
    const rank = x.shape.length;
    if (x.dtype !== 'float32' || sizeOf(x.shape) === 0 || axes.length === 0) return cpuKernel(kernelName, call);
    const reduced = sizeOf(axes.map((axis) => x.shape[axis]));
    const kept = sizeOf(x.shape) / reduced;
    const shape = x.shape.map((d, i) => (axes.includes(i) ? 1 : d)).filter((_, i) => attrs.keepDims || !axes.includes(i));
    if (axes.every((axis, i) => axis === rank - axes.length + i)) {
      const y = backend.output(shape);
      backend.later.reduceRows(backend.floats(x), y.values, kept, reduced, kind);
      return y.info;
    }
    if (kind === 0 && axes.every((axis, i) => axis === i)) {
      const y = backend.output(shape);
      backend.later.columnSums(y.values, backend.floats(x), reduced, kept, false);
      return y.info;
    }
    return cpuKernel(kernelName, call);
  });
}

export const reductionKernels = [reduction(Sum, 0), reduction(Mean, 1), reduction(Max, 2)];
