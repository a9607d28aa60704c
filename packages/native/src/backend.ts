import { MathBackendCPU } from '@tensorflow/tfjs-backend-cpu';
import type { backend_util, DataId, DataType, TensorInfo } from '@tensorflow/tfjs-core';
import { findBackend, findBackendFactory, getKernelsForBackend, Identity, registerBackend, registerKernel, Reshape } from '@tensorflow/tfjs-core';
import { loadNative } from './binding';
import type { NativeBinding, PackedWeight, Precision, WeightPrecision } from './binding';
import { BufferPool } from './buffer-pool';
import type { PoolStatistics } from './buffer-pool';
import { CallQueue } from './call-queue';
import type { WaitingCalls } from './call-queue';
import { nativeKernels } from './kernels';
import { settled } from './kernels/kernel';
import { PackedWeights } from './packed-weights';

/** The name in tfjs's registry. */
export const nativeBackendName = 'native';

let chosenPrecision: Precision | undefined;
let overridden: WeightPrecision | undefined;

/** In which format the operands of `linear`, of the LM head and of attention are: bf16 where the processor multiplies it, else fp32, unless the environment or a caller chose. */
export function nativePrecision(): Precision {
  if (chosenPrecision === undefined) {
    const asked = process.env.ESPALIER_MATMUL_PRECISION;
    const features = loadNative()?.features();
    const fast = features !== undefined && (features.amxBf16 || features.avx512Bf16);
    chosenPrecision = asked === 'bf16' || asked === 'fp32' ? asked : fast ? 'bf16' : 'fp32';
  }
  return chosenPrecision;
}

/** Sets the format of {@link nativePrecision}. tfjs's own `matMul` stays in fp32. */
export function setNativePrecision(precision: Precision): void {
  chosenPrecision = precision;
}

/**
 * Runs `body`, which does not wait for anything, with its products in this format. `int8` is that of linear layers, forward, without a gradient: what else `body`
 * computes is as {@link nativePrecision} says.
 */
export function withNativePrecision<T>(precision: WeightPrecision, body: () => T): T {
  const before = overridden;
  overridden = precision;
  try {
    return body();
  } finally {
    overridden = before;
  }
}

/** So few rows that packing the weight takes as long as multiplying, or longer. */
const fewRows = 128;

/**
 * tfjs's CPU backend with Rust kernels for what is hot. The numbers of a float32 tensor that a Rust kernel made lie in a buffer of the pool, which gets it back
 * when the last tensor on it is disposed; arrays that came from outside (`tensor(values)`) stay the caller's.
 */
export class NativeBackend extends MathBackendCPU {
  /** Every Rust function. */
  readonly binding: NativeBinding;
  /** Those that may wait inside of {@link together}: for kernels that look at no number. */
  readonly later: WaitingCalls;
  readonly pool: BufferPool;
  readonly weights: PackedWeights;
  private readonly calls: CallQueue;
  private readonly seenAsFloats = new WeakMap<Int32Array, Float32Array>();

  constructor(library: NativeBinding) {
    super();
    (this as unknown as { firstUse: boolean }).firstUse = false; // no greeting that recommends another backend
    this.calls = new CallQueue(library);
    this.binding = this.calls.now;
    this.later = this.calls.later;
    this.pool = new BufferPool(this.binding);
    this.weights = new PackedWeights(this.binding);
  }

  /** Of products. */
  get precision(): Precision {
    return overridden === undefined || overridden === 'int8' ? nativePrecision() : overridden;
  }

  /** Of a linear layer's product, forward. */
  get weightPrecision(): WeightPrecision {
    return overridden ?? nativePrecision();
  }

  /**
   * `w [n, k]` packed for products, or null when that is not worth it: at its first uses, or in another format than most. A product of few `rows` packs at the first one
   * too: packing is most of its work in any case, and what has few rows is mostly a prompt, which decoding follows. In eight bits it is always packed.
   */
  packed(w: TensorInfo, n: number, k: number, precision: WeightPrecision, rows = Infinity): PackedWeight | null {
    if (precision !== 'int8' && precision !== nativePrecision()) return null;
    const values = this.floats(w);
    return precision === 'int8' || rows <= fewRows ? this.weights.now(w.dataId as object, values, n, k, precision) : this.weights.get(w.dataId as object, values, n, k, precision);
  }

  /** `w [n, k]` packed for products, at its first use too: for what comes again and again between two changes of the weights. */
  packedNow(w: TensorInfo): PackedWeight {
    return this.weights.now(w.dataId as object, this.floats(w), w.shape[0], w.shape[1], this.weightPrecision);
  }

  /** A new float32 tensor of arbitrary contents, to be written by the kernel that asked. */
  output(shape: number[]): { info: TensorInfo; values: Float32Array } {
    const values = this.pool.take(shape.reduce((size, dimension) => size * dimension, 1));
    return { info: { dataId: super.write(values, shape, 'float32'), shape, dtype: 'float32' }, values };
  }

  /**
   * Runs `body`, which does not wait for anything, and lets its calls of Rust kernels wait for one another: they run in a row, in their order, when somebody reads a number, and when `body` returns at the latest. What comes
   * out is the same. An array that an operation was given, such as token ids, must not be written to before that.
   */
  together<T>(body: () => T): T {
    return this.calls.together(body);
  }

  /** Runs the calls that wait: before anything but a Rust kernel looks at numbers, or writes them. */
  settle(): void {
    this.calls.settle();
  }

  /** A new tensor of the same numbers, for kernels that work in place. */
  copy(x: TensorInfo): { info: TensorInfo; values: Float32Array } {
    const y = this.output(x.shape);
    const n = y.values.length;
    if (n > 0) this.later.permute(this.floats(x), Int32Array.of(n), Int32Array.of(0), y.values);
    return y;
  }

  /** The numbers of a float32 tensor, to be read, or written by a kernel that works in place. Inside of {@link together} they may be still to come. */
  floats(x: TensorInfo): Float32Array {
    const data = this.data.get(x.dataId);
    if (!(data.values instanceof Float32Array)) data.values = Float32Array.from((data.values ?? []) as ArrayLike<number>);
    return data.values;
  }

  /** The numbers of an int32 tensor. Inside of {@link together} they may be still to come. */
  ints(x: TensorInfo): Int32Array {
    const data = this.data.get(x.dataId);
    if (!(data.values instanceof Int32Array)) data.values = Int32Array.from((data.values ?? []) as ArrayLike<number>);
    return data.values;
  }

  /** What a float32 or int32 tensor lies in, as floats whatever it means: for kernels that take both. */
  words(x: TensorInfo): Float32Array {
    const { values } = this.data.get(x.dataId);
    if (!(values instanceof Int32Array)) return this.floats(x);
    let seen = this.seenAsFloats.get(values);
    if (!seen) this.seenAsFloats.set(values, (seen = new Float32Array(values.buffer, values.byteOffset, values.length)));
    return seen;
  }

  /** The same data under another reference. */
  share(x: TensorInfo, shape: number[] = x.shape): TensorInfo {
    this.incRef(x.dataId);
    return { dataId: x.dataId, shape, dtype: x.dtype };
  }

  /** Frees idle buffers. */
  trim(): void {
    this.pool.trim();
  }

  /** Bytes in use by pooled tensors, idle in the pool, and in packed weights. */
  nativeMemory(): PoolStatistics & { packedWeights: number } {
    return { ...this.pool.statistics(), packedWeights: this.weights.bytes };
  }

  // A kernel of the CPU backend may return a view of its input's buffer, which must then never be recycled.
  override write(values: backend_util.BackendValues, shape: number[], dtype: DataType): DataId {
    this.escape(values);
    return super.write(values, shape, dtype);
  }

  override move(dataId: DataId, values: backend_util.BackendValues, shape: number[], dtype: DataType, refCount: number): void {
    this.escape(values);
    super.move(dataId, values, shape, dtype, refCount);
  }

  // What is read out is the backing array itself: from then on it is the reader's.
  override readSync(dataId: DataId): backend_util.BackendValues {
    this.settle();
    const values = super.readSync(dataId);
    this.escape(values);
    return values;
  }

  override disposeData(dataId: DataId, force = false): boolean {
    const values = this.data.has(dataId) ? this.data.get(dataId).values : undefined;
    const gone = super.disposeData(dataId, force);
    if (gone) {
      this.weights.forget(dataId as object);
      if (values instanceof Float32Array) this.pool.give(values);
    }
    return gone;
  }

  override dispose(): void {
    this.weights.dispose();
    this.pool.dispose();
    super.dispose();
  }

  private escape(values: backend_util.BackendValues | undefined): void {
    if (ArrayBuffer.isView(values)) this.pool.escape(values.buffer);
  }
}

/** The backend object, once tfjs has made it (that is, after `setBackend('native')`). */
export function nativeBackend(): NativeBackend | null {
  return (findBackend(nativeBackendName) as NativeBackend | undefined) ?? null;
}

/**
 * Registers the backend `native` and its kernels with tfjs: all of the CPU backend's, and the Rust ones in the place of those that they replace.
 * @returns false where the Rust library is not here; `nativeStatus()` says why
 * @example
 * if (registerNativeBackend()) await setBackend('native');
 */
export function registerNativeBackend(): boolean {
  const binding = loadNative();
  if (!binding) return false;
  if (findBackendFactory(nativeBackendName)) return true;
  registerBackend(nativeBackendName, () => new NativeBackend(binding));
  const mine = new Set(nativeKernels.map(({ kernelName }) => kernelName));
  for (const kernel of getKernelsForBackend('cpu')) {
    if (mine.has(kernel.kernelName)) continue;
    registerKernel({ ...kernel, backendName: nativeBackendName, kernelFunc: seesNoNumbers.has(kernel.kernelName) ? kernel.kernelFunc : settled(kernel.kernelFunc) });
  }
  for (const kernel of nativeKernels) registerKernel({ ...kernel, backendName: nativeBackendName });
  return true;
}

/** Kernels of the CPU backend (the last is of `tensor`) that give the same numbers another name or shape. */
const seesNoNumbers = new Set([Identity, Reshape, 'EspalierView']);
