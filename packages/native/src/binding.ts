import { createRequire } from 'node:module';
import type { KernelFunctions } from './kernel-functions';
import type { LinearsFunctions } from './linears-functions';
import { howToBuild, platformPackage, whyMissing } from './platform-package';

/** In which format the operands of a matrix product are; sums are always fp32. */
export type Precision = 'fp32' | 'bf16';

/** The same for a product that need not be exact: `int8` has both operands in eight bits, with a scale for each 32 numbers of a row. */
export type WeightPrecision = Precision | 'int8';

/** What the processor offers and which kernels are used because of it. */
export interface NativeFeatures {
  arch: string;
  /** Threads that kernels run on: `ESPALIER_NUM_THREADS`, or the available cores. */
  threads: number;
  avx2: boolean;
  avx512: boolean;
  avx512Bf16: boolean;
  avx512Vnni: boolean;
  amxBf16: boolean;
  /** The micro-kernel of fp32 products. */
  fp32Kernel: string;
  /** The micro-kernel of bf16 products. */
  bf16Kernel: string;
  /** The micro-kernel of products in eight bits. */
  int8Kernel: string;
  /** Whether the processor multiplies bf16 itself: then it is the default precision. */
  nativeBf16: boolean;
  /** Micro-kernels that gave wrong results in their self-test here and are not used. */
  refusedKernels: string[];
}

/** A weight packed for matrix products: an opaque handle with memory outside of the JavaScript heap. */
export interface PackedWeight {
  /** Columns of the product: N. */
  readonly n: number;
  /** Length of the sums: K. */
  readonly k: number;
  readonly precision: WeightPrecision;
  /** Bytes held; 0 after `releaseWeight`. */
  readonly bytes: number;
}

/** How an operand of `matmul` lies in memory, in elements: element (b, i, j) stands at `offset + b * batch + i * row + j * column`. */
export interface Strides {
  offset?: number;
  batch: number;
  row: number;
  column: number;
}

/** Memory for tensors. */
interface MemoryFunctions {
  /** An `ArrayBuffer` of `bytes` bytes, aligned to 64, contents arbitrary, in huge pages from 2 MB on. Freed when collected or released. */
  allocate(bytes: number): ArrayBuffer;
  /** The same, of zeros, which cost nothing until they are touched where the system has zeros for the asking. */
  allocateZeros(bytes: number): ArrayBuffer;
  /** Frees a buffer of `allocate` or `allocateZeros` at once; it and its views have length 0 afterwards. False if it is not one of `allocate`. */
  release(buffer: ArrayBuffer): boolean;
  /** Bytes held now by `allocate`, packed weights and workspaces. */
  allocatedBytes(): number;
}

/**
 * Matrix products. A row of a result is the same to the bit whatever M is, however many threads run, and whether the
 * weight came packed or not: sums run over k in one fixed order.
 */
interface ProductFunctions extends LinearsFunctions {
  /**
   * Packs w [N, K] for `linear`. With `transposed`, w is [K, N] in memory (so for the product that `linear` gives, N and K name
   * the handle's own sizes): `packWeight(w, K_of_w, N_of_w, precision, true)` serves dx = dy · w as `linear(dx, dy, packed, null, m)`.
   */
  packWeight(w: Float32Array, n: number, k: number, precision: WeightPrecision, transposed?: boolean): PackedWeight;
  /** Packs changed values into the memory of an existing handle. */
  repackWeight(packed: PackedWeight, w: Float32Array): void;
  /** Frees the handle's memory; using it afterwards is an error. */
  releaseWeight(packed: PackedWeight): void;
  /** y [M, N] = x [M, K] · wᵀ + bias [N]. */
  linear(y: Float32Array, x: Float32Array, packed: PackedWeight, bias: Float32Array | null, m: number): void;
  /** The same with w [N, K] as it is, packed on the way: for weights that are used once. */
  linearUnpacked(y: Float32Array, x: Float32Array, w: Float32Array, bias: Float32Array | null, m: number, n: number, k: number, precision: Precision): void;
  /** db [N] (+)= the sums of the columns of dy [M, N]. */
  columnSums(db: Float32Array, dy: Float32Array, m: number, n: number, accumulate: boolean): void;
  /** c [batch, M, N] (+)= a [batch, M, K] · b [batch, K, N], with any strides for a and b (batch stride 0 repeats an operand). */
  matmul(c: Float32Array, a: Float32Array, aStrides: Strides, b: Float32Array, bStrides: Strides, batch: number, m: number, n: number, k: number, precision: Precision, accumulate: boolean): void;
}

/** What the LM head gives for A positions, without [A, V] logits in memory. logits = (hidden · wᵀ + bias) / temperature. */
interface TokenOutputFunctions {
  /**
   * hidden [A, D], w [V, D] (given as it is, or as its packed handle, which is used when not null), targets [A] → logps [A] (natural log), and where not null entropy [A] = -Σ p ln p,
   * sumSquares [A] = Σ p²; lse [A] is the log-sum-exp of the logits, which the backward pass needs. `kept` is room for what spares that pass computing logits again, as many
   * floats as `keptLogits` says, or null.
   */
  tokenOutputs(
    hidden: Float32Array, w: Float32Array | null, packed: PackedWeight | null, bias: Float32Array | null, targets: Int32Array,
    a: number, v: number, d: number, temperature: number, precision: Precision,
    logps: Float32Array, entropy: Float32Array | null, sumSquares: Float32Array | null, lse: Float32Array,
    kept: Float32Array | null,
  ): void;
  /** How many floats `kept` takes where `room` of them are free: as many whole blocks of the vocabulary as fit, from its first entry on, of logits, or where products are in bf16 of exponentials in half the room. */
  keptLogits(a: number, v: number, room: number, precision: Precision): number;
  /**
   * The gradients of Σ dlogps·logps + Σ dentropy·entropy + Σ dsumSquares·sumSquares. Takes what the forward pass gave
   * (lse; entropy if dentropy is given; sumSquares if dsumSquares is given; logps if `kept` is given, whose exponentials serve where dentropy and dsumSquares are absent or zero). dhidden [A, D] is overwritten when not null;
   * dw [V, D] and dbias [V] are added to when `accumulate`, else overwritten; null skips one. `packed` (w as packed for `linear`, or null) saves packing again.
   */
  tokenOutputsBackward(
    hidden: Float32Array, w: Float32Array, packed: PackedWeight | null, bias: Float32Array | null, targets: Int32Array,
    a: number, v: number, d: number, temperature: number, precision: Precision,
    lse: Float32Array, entropy: Float32Array | null, sumSquares: Float32Array | null,
    dlogps: Float32Array | null, dentropy: Float32Array | null, dsumSquares: Float32Array | null,
    kept: Float32Array | null, logps: Float32Array | null,
    dhidden: Float32Array | null, dw: Float32Array | null, dbias: Float32Array | null, accumulate: boolean,
  ): void;
}

/** The divergence between two LM heads over one vocabulary, for A positions, without [A, V] logits in memory. */
interface TokenDivergenceFunctions {
  /**
   * hidden [A, D], w [V, D] of the student, teacherHidden [A, E], teacherW [V, E]; each weight also as its packed handle, which is used when not null →
   * divergence [A] (beta 0: KL(q ‖ p), 1: KL(p ‖ q), else beta KL(q ‖ m) + (1 - beta) KL(p ‖ m)), and what the backward pass needs: lse [A], teacherLse [A], studentKl [A].
   */
  tokenDivergence(
    hidden: Float32Array, w: Float32Array, packed: PackedWeight | null, teacherHidden: Float32Array, teacherW: Float32Array, teacherPacked: PackedWeight | null,
    a: number, v: number, d: number, e: number, beta: number, temperature: number, precision: Precision,
    divergence: Float32Array, lse: Float32Array, teacherLse: Float32Array, studentKl: Float32Array,
  ): void;
  /** The gradients of Σ ddivergence·divergence by the student: dhidden [A, D] and dw [V, D] are overwritten. */
  tokenDivergenceBackward(
    hidden: Float32Array, w: Float32Array, packed: PackedWeight | null, teacherHidden: Float32Array, teacherW: Float32Array, teacherPacked: PackedWeight | null,
    a: number, v: number, d: number, e: number, beta: number, temperature: number, precision: Precision,
    lse: Float32Array, teacherLse: Float32Array, studentKl: Float32Array, ddivergence: Float32Array, dhidden: Float32Array, dw: Float32Array,
  ): void;
}

/** The optimiser. */
interface OptimiserFunctions {
  /**
   * One step of AdamW as in torch.optim.AdamW for any number of parameters, in place on w, m, v: `g = gradScale * grad`, decoupled weight decay, bias correction by `step`
   * (1 for the first). m and v are fp32, zero before the first step. Rate and decay are given for each parameter.
   */
  adamW(
    w: readonly Float32Array[], grad: readonly Float32Array[], m: readonly Float32Array[], v: readonly Float32Array[], learningRate: Float64Array, weightDecay: Float64Array,
    step: number, beta1: number, beta2: number, epsilon: number, gradScale: number,
  ): void;
  /** Σ x² over all arrays in float64, in an order that does not depend on threads: the root of it is the global norm. */
  squaredSum(x: readonly Float32Array[]): number;
}

/** Every function of the Rust library. Lengths and overlaps are checked: wrong arguments throw, and nothing is written. */
export interface NativeBinding extends MemoryFunctions, ProductFunctions, TokenOutputFunctions, TokenDivergenceFunctions, OptimiserFunctions, KernelFunctions {
  features(): NativeFeatures;
}

/** Whether the Rust kernels are here; `reason` says why not, and what would do. */
export interface NativeStatus {
  available: boolean;
  reason: string;
  features: NativeFeatures | null;
}

let loaded: { binding: NativeBinding | null; reason: string } | undefined;

function load(): { binding: NativeBinding | null; reason: string } {
  if (process.env.ESPALIER_NATIVE === '0') return { binding: null, reason: 'switched off by ESPALIER_NATIVE=0' };
  const require = createRequire(import.meta.url);
  // What was built here comes first: it lies beside the folders src and dist, so the same path serves both. Then npm's prebuilt package for this platform.
  for (const library of ['../espalier-native.node', platformPackage()]) {
    try {
      return { binding: require(library) as NativeBinding, reason: `loaded from ${require.resolve(library)}` };
    } catch (error) {
      if ((error as { code?: unknown }).code === 'MODULE_NOT_FOUND') continue;
      const message = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
      return { binding: null, reason: `the Rust library does not load here: ${message} (${howToBuild})` };
    }
  }
  return { binding: null, reason: whyMissing(platformPackage(), require('../package.json') as { optionalDependencies?: Record<string, string> }) };
}

/** The raw Rust functions, or null where the library is missing or does not load. Loaded once. */
export function loadNative(): NativeBinding | null {
  loaded ??= load();
  return loaded.binding;
}

/** Whether the Rust kernels are here, why not, and what the processor offers. */
export function nativeStatus(): NativeStatus {
  const binding = loadNative();
  return { available: binding !== null, reason: loaded?.reason ?? '', features: binding?.features() ?? null };
}
