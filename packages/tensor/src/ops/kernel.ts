import { nativeBackend } from '@espalier/native';
import { EspalierError } from '@espalier/spec';
import { engine, registerGradient, registerKernel, tidy, unregisterKernel, zeros } from '@tensorflow/tfjs-core';
import type { DataId, KernelFunc, NamedAttrMap, NamedTensorMap, Tensor, TensorInfo } from '@tensorflow/tfjs-core';
import { backendFacts, type BackendFacts } from '../backend-facts';
import '../tfjs';

/** A kernel's inputs as a portable one gets them: real tensors, whatever the backend. */
export type KernelInputs<Inputs> = { [K in keyof Inputs]: Tensor };

type Portable = (inputs: Record<string, Tensor>, attrs: Record<string, unknown>) => Tensor | Tensor[];

/**
 * Backends that get the portable kernels as soon as this package is imported; kernels of absent backends cost nothing. `native` starts from a copy of
 * what `cpu` has and puts its own in their place.
 */
const portableBackends = ['cpu', 'wasm', 'tensorflow'];

/**
 * Registers the portable version of a fused kernel for tfjs's own backends. It is made of standard tfjs ops, runs off the tape, and what it leaves behind is disposed.
 * The casts are the border between a kernel's own types (see `@espalier/native`) and tfjs's maps of anything.
 */
export function portableKernel<Inputs, Attrs = object>(name: string, compute: (inputs: KernelInputs<Inputs>, attrs: Attrs) => Tensor | Tensor[]): void {
  for (const backendName of portableBackends) registerKernel({ kernelName: name, backendName, kernelFunc: kernelOf(compute) });
  portableKernels.add(name);
}

const kernelOf = (compute: unknown): KernelFunc => ({ inputs, attrs }) => tidy(() => (compute as Portable)(inputs as Record<string, Tensor>, attrs ?? {}) as Tensor);

/** The fused kernels that have a portable version. */
export const portableKernels: Set<string> = new Set();

/** The fused kernels that call TensorFlow's own operations on `tensorflow`, with the names of those. */
export const tensorflowOperations: Map<string, readonly string[]> = new Map();

/**
 * Replaces a portable kernel on `tensorflow` by one that calls TensorFlow's own operations.
 * @param operations which ones, by TensorFlow's names
 */
export function tensorflowKernel<Inputs, Attrs = object>(name: string, operations: readonly string[], compute: (inputs: KernelInputs<Inputs>, attrs: Attrs) => Tensor | Tensor[]): void {
  unregisterKernel(name, 'tensorflow');
  registerKernel({ kernelName: name, backendName: 'tensorflow', kernelFunc: kernelOf(compute) });
  tensorflowOperations.set(name, operations);
}

/** Replaces a portable kernel on `cpu`, and with it on `native`, by one that is called without the detour over tfjs's ops: for what costs nothing itself. */
export function directKernel(name: string, kernelFunc: KernelFunc): void {
  unregisterKernel(name, 'cpu');
  registerKernel({ kernelName: name, backendName: 'cpu', kernelFunc });
}

/** Runs a kernel; inputs that are `undefined` are left out. */
export function run<Out extends Tensor | Tensor[] = Tensor>(name: string, inputs: object, attrs: object = {}): Out {
  const present: NamedTensorMap = {};
  for (const [key, value] of Object.entries(inputs)) if (value !== undefined) present[key] = value as Tensor;
  return engine().runKernel(name, present, attrs as NamedAttrMap) as Out;
}

/** Computes one input's gradient. */
export interface GradientClosure {
  (): Tensor;
  /** Where it pays: adds the gradient to one that is there already. Consumes `existing`, as `addInPlace` does. Only called where kernels work in place. */
  into?(existing: Tensor): Tensor;
}

/** The parts of tfjs's engine that put a kernel call on the tape. */
interface RecordingEngine {
  isTapeOn(): boolean;
  getTensorsForGradient(name: string, inputs: NamedTensorMap, outputs: Tensor[]): Tensor[] | null;
  saveTensorsForBackwardMode(tensors: Tensor[] | null): Tensor[];
  addTapeNode(name: string, inputs: NamedTensorMap, outputs: Tensor[], gradient: null, saved: Tensor[], attrs: object): void;
}

/** What {@link run} does for a kernel whose outputs are known: nothing is computed, and the tape has it as if it had been. The caller keeps `outputs`; what comes back shares their numbers. */
export function runKnown(name: string, inputs: object, attrs: object, outputs: readonly Tensor[]): Tensor[] {
  const present: NamedTensorMap = {};
  for (const [key, value] of Object.entries(inputs)) if (value !== undefined) present[key] = value as Tensor;
  const shared = outputs.map((output) => sameData(output));
  const recording = engine() as unknown as RecordingEngine;
  if (recording.isTapeOn()) {
    const saved = recording.saveTensorsForBackwardMode(recording.getTensorsForGradient(name, present, shared));
    recording.addTapeNode(name, present, shared, null, saved, attrs);
  }
  return shared;
}

type Gradients = Record<string, GradientClosure>;

/** How many of a kernel's outputs have a gradient that its own looks at, where that is not all. */
const lookedAt = new Map<string, number>();

/** Whether a kernel's gradient looks at that of its output `index`. */
export const looksAt = (kernelName: string, index: number): boolean => index < (lookedAt.get(kernelName) ?? Infinity);

/**
 * Registers the gradient of a fused kernel: `gradient(dys, saved, attrs)`, `saved` being the named inputs and then the marked outputs. `dys` says how many outputs, from
 * the first on, have a gradient that matters; what the others get is arbitrary. All, when it is left out.
 */
export function fusedGradient<Attrs = object>(
  kernelName: string,
  { dys: count, ...options }: { inputsToSave?: string[]; outputsToSave?: boolean[]; dys?: number },
  gradient: (dys: Tensor[], saved: Tensor[], attrs: Attrs) => Gradients,
): void {
  if (count !== undefined) lookedAt.set(kernelName, count);
  registerGradient({ kernelName, ...options, gradFunc: (dy, saved, attrs) => gradient(Array.isArray(dy) ? dy : [dy], saved, attrs as Attrs) });
}

let walkerDepth = 0;

/** Runs one node's gradient under Espalier's own tape walker (see `tape.ts`), which gives all of a node's gradient closures one scope. */
export function insideWalker<T>(work: () => T): T {
  walkerDepth++;
  try {
    return work();
  } finally {
    walkerDepth--;
  }
}

/**
 * Gradients that one kernel computes together. Under Espalier's tape walker it runs once. tfjs's own walker runs each closure in a `tidy` of its
 * own, which would dispose the other outputs: there it runs once a closure.
 */
export function sharedGradients(compute: () => Tensor[]): (output: number) => () => Tensor {
  let memo: Tensor[] | null = null;
  return (output) => () => {
    if (walkerDepth === 0) return compute()[output];
    memo ??= compute();
    return memo[output];
  };
}

/** The same for a kernel that can add its first output to a gradient that is there already, which it consumes. */
export function sharedGradientsInto(compute: (existing?: Tensor) => Tensor[]): (output: number) => GradientClosure {
  let existing: Tensor | undefined;
  const gradient = sharedGradients(() => compute(existing));
  const first: GradientClosure = Object.assign(gradient(0), {
    into(target: Tensor): Tensor {
      existing = target;
      return gradient(0)();
    },
  });
  return (output) => (output === 0 ? first : gradient(output));
}

interface DataStore {
  get(id: DataId): { values: unknown };
}

/** Backends on which the "consuming" kernels write into the tensor that they are given. */
export function worksInPlace(): boolean {
  return (backendFacts as Record<string, BackendFacts | undefined>)[engine().backendName]?.inPlace ?? false;
}

/** The very numbers of a float32 tensor of the CPU backend, to be written into; null on every other backend. */
export function backingArray(x: TensorInfo): Float32Array | null {
  if (engine().backendName !== 'cpu') return null;
  const values = (engine().backend as unknown as { data: DataStore }).data.get(x.dataId).values;
  return values instanceof Float32Array ? values : null;
}

/** Another tensor over the same data, for kernels that have written in place. */
export function sameData(x: TensorInfo, shape: number[] = x.shape): Tensor {
  engine().backend.incRef(x.dataId);
  return engine().makeTensorFromTensorInfo({ dataId: x.dataId, shape, dtype: x.dtype });
}

/** A float32 tensor of arbitrary contents, to be written in place; zeros where the backend writes nothing in place. */
export function arbitrary(shape: number[]): Tensor {
  const native = engine().backendName === 'native' ? nativeBackend() : null;
  return native ? engine().makeTensorFromTensorInfo(native.output(shape).info) : zeros(shape);
}

/** The shape as plain numbers: tfjs's type is a union of tuples, of which no entry is sure. */
export const dims = (x: Tensor): number[] => x.shape;

/** Throws `internal` when an op is called with shapes that do not fit. */
export function check(condition: boolean, op: string, message: () => string): void {
  if (!condition) throw new EspalierError('internal', `${op}: ${message()}`);
}
