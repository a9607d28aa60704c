import type { PackedWeight } from './binding';

/** Sizes and constants of a decoder's blocks. */
export interface DecodeBlocksShape {
  heads: number;
  kvHeads: number;
  dim: number;
  eps: number;
  /** Of the scores. */
  scale: number;
  rotaryScaling: number;
  /** Of the caches. */
  format: CacheFormat;
}

/**
 * How keys and values are read: floats as they are, floats that are rounded to bfloat16, or numbers of bfloat16, two in the place of a float. The last two give the same.
 */
export type CacheFormat = 'fp32' | 'rounded' | 'bf16';

/** A low-rank adapter: which of the weights it belongs to, and the factor of its update. */
export interface DecodeBlocksAdapter {
  weight: number;
  scale: number;
}

/**
 * The Rust functions of the kernels that are not matrix products (those stand in `binding.ts`). Sizes are in elements; every length and overlap is checked
 * in Rust before anything is written.
 */
export interface KernelFunctions {
  /** `x [rows, d]`, `weight [d]` → `y [rows, d]`. */
  rmsNorm(x: Float32Array, weight: Float32Array, y: Float32Array, rows: number, d: number, eps: number): void;
  /** `dy`, `x`, `weight` → `dx [rows, d]`, added to when `accumulate`, `dweight [d]`, added up in a fixed order. */
  rmsNormGrad(
    dy: Float32Array, x: Float32Array, weight: Float32Array, dx: Float32Array, dweight: Float32Array, rows: number, d: number, eps: number, accumulate: boolean,
  ): void;
  /** `x [rows, d]`, `weight [d]`, `bias [d]` → `y [rows, d]`. */
  layerNorm(x: Float32Array, weight: Float32Array, bias: Float32Array, y: Float32Array, rows: number, d: number, eps: number): void;
  /** → `dx [rows, d]`, `dweight [d]`, `dbias [d]`. */
  layerNormGrad(
    dy: Float32Array, x: Float32Array, weight: Float32Array, dx: Float32Array, dweight: Float32Array, dbias: Float32Array, rows: number, d: number, eps: number,
  ): void;
  /** `x [T, heads, dim]` → `y`, turned by `positions[t] * invFreq[i]`, backwards when `inverse`. */
  rotary(x: Float32Array, positions: Int32Array, invFreq: Float32Array, y: Float32Array, heads: number, dim: number, scaling: number, inverse: boolean): void;
  /** `silu(gate) * up`. */
  swiglu(gate: Float32Array, up: Float32Array, y: Float32Array): void;
  swigluGrad(dy: Float32Array, gate: Float32Array, up: Float32Array, dgate: Float32Array, dup: Float32Array): void;
  /** GELU in its tanh form. */
  gelu(x: Float32Array, y: Float32Array): void;
  geluGrad(dy: Float32Array, x: Float32Array, dx: Float32Array): void;
  /** `out[i] = table[ids[i]]`. */
  gatherRows(table: Float32Array, ids: Int32Array, out: Float32Array, rows: number, d: number): void;
  /** `table[ids[i]] += values[i]` in the order of `i`, after zeroing when `zero`. */
  scatterAddRows(values: Float32Array, ids: Int32Array, table: Float32Array, rows: number, d: number, zero: boolean): void;
  /** `y [rows, width] = a ∘ b`: add (0), subtract (1), multiply (2), divide (3); an operand is `[rows, width]` (0), `[width]` (1), `[rows]` (2) or one number (3). */
  binary(operation: number, a: Float32Array, aSpread: number, b: Float32Array, bSpread: number, y: Float32Array, rows: number, width: number): void;
  /** `target += scale * value`. */
  addInPlace(target: Float32Array, value: Float32Array, scale: number): void;
  /** `x` of shape `shape` → `y` with dimension `i` of `y` being dimension `perm[i]` of `x`. */
  permute(x: Float32Array, shape: Int32Array, perm: Int32Array, y: Float32Array): void;
  /** `x [rows, width]` → sums (0), means (1) or maxima (2) of rows: `[rows]`. */
  reduceRows(x: Float32Array, out: Float32Array, rows: number, width: number, kind: number): void;
  /** Attention over packed ragged sequences; see `EspalierCausalAttention`. → `o [T, heads, dim]`, `lse [T, heads]`. `rounded`: keys and values to bfloat16. */
  causalAttention(
    q: Float32Array, k: Float32Array, v: Float32Array, offsets: Int32Array, prefixOf: Int32Array, o: Float32Array, lse: Float32Array,
    heads: number, kvHeads: number, dim: number, scale: number, window: number, rounded: boolean,
  ): void;
  causalAttentionGrad(
    dy: Float32Array, q: Float32Array, k: Float32Array, v: Float32Array, o: Float32Array, lse: Float32Array, offsets: Int32Array, prefixOf: Int32Array,
    dq: Float32Array, dk: Float32Array, dv: Float32Array, heads: number, kvHeads: number, dim: number, scale: number, window: number, rounded: boolean,
  ): void;
  /** One query a row over ranges of a cache; see `EspalierCachedAttention`. → `o [B, heads, dim]`. */
  cachedAttention(
    q: Float32Array, cacheK: Float32Array, cacheV: Float32Array, ranges: Int32Array, o: Float32Array,
    heads: number, kvHeads: number, dim: number, scale: number, window: number, format: CacheFormat,
  ): void;
  /** `values [B, width]` to the rows `rows [B]` of a cache; a later row wins. `rounded` writes floats as they are. */
  cacheWrite(cache: Float32Array, values: Float32Array, rows: Int32Array, width: number, format: CacheFormat): void;
  /**
   * What `EspalierDecodeBlocks` does to `x [B, D]`, in place. One block after another: four `norms` (before attention, before the MLP, of query heads, of key heads),
   * seven `weights` and `biases` (q, k, v, o, gate, up, down, all packed in one precision), two `caches` (keys, values), a window (0: none).
   * The new keys and values go to `cacheRows [B]`. `pairs` has A `[r, K]` and B `[N, r]` of each of `adapted`, packed in the precision of their weight. `kept`: none, or nine arrays
   * for each block (see `DecodeBlocksAttrs`), into whose `keptRows [B]` go the outputs of the block's layers and attention; a negative row is not kept.
   */
  decodeBlocks(
    x: Float32Array, norms: readonly (Float32Array | null)[], weights: readonly PackedWeight[], biases: readonly (Float32Array | null)[], positions: Int32Array, invFreq: Float32Array,
    caches: readonly Float32Array[], cacheRows: Int32Array, ranges: Int32Array, windows: Uint32Array, shape: DecodeBlocksShape,
    adapted: readonly DecodeBlocksAdapter[], pairs: readonly PackedWeight[], kept: readonly Float32Array[], keptRows: Int32Array,
  ): void;
  /** `logits [rows, vocab]` → `tokens [rows]`, `logps [rows]`; the algorithm stands in `crate/src/sampling.rs`. */
  sampleTokens(
    logits: Float32Array, vocab: number, seeds: Uint32Array, samples: Uint32Array, positions: Uint32Array, temperature: Float64Array, topK: Int32Array,
    topP: Float64Array, minP: Float64Array, repetitionPenalty: Float64Array, history: Int32Array, historyOffsets: Int32Array, tokens: Int32Array, logps: Float32Array,
  ): void;
}
