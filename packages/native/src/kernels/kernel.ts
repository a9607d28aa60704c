import { getKernel } from '@tensorflow/tfjs-core';
import type { KernelFunc, NamedAttrMap, NamedTensorInfoMap, TensorInfo } from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../backend';

/** What a kernel gets: its inputs and attributes in their own types, and the backend. */
export interface KernelCall<Inputs, Attrs = object> {
  inputs: Inputs;
  attrs: Attrs;
  backend: NativeBackend;
}

export interface NativeKernel {
  kernelName: string;
  kernelFunc: KernelFunc;
}

type Compute<Inputs, Attrs> = (call: KernelCall<Inputs, Attrs>) => TensorInfo | TensorInfo[];

/** A kernel of this backend: it finds all numbers there. The casts are the border between a kernel's own types and tfjs's maps of anything. */
export function nativeKernel<Inputs, Attrs = object>(kernelName: string, compute: Compute<Inputs, Attrs>): NativeKernel {
  return { kernelName, kernelFunc: settled(compute as unknown as KernelFunc) };
}

/** One whose calls may wait: it looks at no number itself, and calls the functions of `backend.later`. */
export function waitingKernel<Inputs, Attrs = object>(kernelName: string, compute: Compute<Inputs, Attrs>): NativeKernel {
  return { kernelName, kernelFunc: compute as unknown as KernelFunc };
}

/** The same kernel, called when nothing waits. */
export function settled(kernelFunc: KernelFunc): KernelFunc {
  return (call) => {
    (call.backend as NativeBackend).settle();
    return kernelFunc(call);
  };
}

/** Runs the CPU backend's kernel on the same data, for what the Rust kernel does not cover. */
export function cpuKernel(kernelName: string, call: KernelCall<unknown, unknown>): TensorInfo {
  const kernel = getKernel(kernelName, 'cpu');
  const { inputs, attrs, backend } = call;
  backend.settle();
  return kernel.kernelFunc({ inputs: inputs as NamedTensorInfoMap, attrs: attrs as NamedAttrMap, backend }) as TensorInfo;
}

export const sizeOf = (shape: readonly number[]): number => shape.reduce((size, dimension) => size * dimension, 1);

/** `[rows, width]` of a tensor seen as rows of its last dimension. */
export function rowsOf(x: TensorInfo): { rows: number; width: number } {
  const width = x.shape[x.shape.length - 1];
  return { rows: width === 0 ? 0 : sizeOf(x.shape) / width, width };
}
