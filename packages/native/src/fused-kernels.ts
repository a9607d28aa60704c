import type { TensorInfo } from '@tensorflow/tfjs-core';

/**
 * Names, inputs, attributes and outputs of the fused kernels. `tensor` registers portable versions of them for `cpu`, `wasm` and `tensorflow`;
 * this package registers Rust versions for `native`. Both sides agree on this file.
 *
 * Index lists (ids, targets, positions, offsets) travel as typed arrays in the attributes, so that tfjs's tape wants no gradient for them.
 * Tensors are float32 unless said otherwise. A rank of `[..., D]` means any number of leading dimensions.
 *
 * "Consumes" marks kernels that work in place where they can (`native`) and make a new tensor where they cannot (portable): the caller uses
 * the returned tensor from then on and disposes the one that it passed (for a variable: `variable.assign(result)`, then `result.dispose()`).
 */
export * from './linears-kernels';
export * from './optimiser-kernels';

/** `x [T, K]`, `w [N, K]`, `bias? [N]` → `y [T, N] = x wᵀ + bias`. Its gradients are those of `EspalierLinears` for one layer. */
export const EspalierLinear = 'EspalierLinear';
export interface LinearInputs {
  x: TensorInfo;
  w: TensorInfo;
  bias?: TensorInfo;
}

/** `dy [T, N]` → `dbias [N]`, the sum over rows in row order. */
export const EspalierLinearGradBias = 'EspalierLinearGradBias';
export interface LinearGradBiasInputs {
  dy: TensorInfo;
}

/** `x [..., D]`, `weight [D]` → `y = x / sqrt(mean(x²) + eps) * weight` (Zhang & Sennrich 2019, eq. 4). */
export const EspalierRmsNorm = 'EspalierRmsNorm';
export interface RmsNormInputs {
  x: TensorInfo;
  weight: TensorInfo;
}
export interface NormAttrs {
  eps: number;
}

/** `dy [..., D]`, `x`, `weight` → `[dx [..., D], dweight [D]]`; `dx` is added to `existing`, where that is given. Consumes `existing`. */
export const EspalierRmsNormGrad = 'EspalierRmsNormGrad';
export interface RmsNormGradInputs {
  existing?: TensorInfo;
  dy: TensorInfo;
  x: TensorInfo;
  weight: TensorInfo;
}

/** `x [..., D]`, `weight [D]`, `bias [D]` → `y = (x - mean) / sqrt(var + eps) * weight + bias`, biased variance (Ba et al. 2016). */
export const EspalierLayerNorm = 'EspalierLayerNorm';
export interface LayerNormInputs {
  x: TensorInfo;
  weight: TensorInfo;
  bias: TensorInfo;
}

/** `dy [..., D]`, `x`, `weight` → `[dx [..., D], dweight [D], dbias [D]]`. */
export const EspalierLayerNormGrad = 'EspalierLayerNormGrad';
export interface LayerNormGradInputs {
  dy: TensorInfo;
  x: TensorInfo;
  weight: TensorInfo;
}

/**
 * `x [T, H, Dh]` → the same, rotated: with `a = positions[t] * invFreq[i]`, `i < Dh / 2`,
 * `y[i] = x[i] cos a - x[i + Dh/2] sin a`, `y[i + Dh/2] = x[i + Dh/2] cos a + x[i] sin a` ("rotate half", Su et al. 2021).
 * `inverse` rotates back: the gradient. `invFreq` may hold fewer than `Dh / 2` entries: then only the first `2 * invFreq.length` of each head turn
 * (halves of that length), and the rest passes through. Cosine and sine are multiplied by `scaling` (1 when absent; YaRN's attention factor); the inverse too.
 */
export const EspalierRotary = 'EspalierRotary';
export interface RotaryInputs {
  x: TensorInfo;
}
export interface RotaryAttrs {
  positions: Int32Array;
  invFreq: Float32Array;
  inverse: boolean;
  scaling?: number;
}

/**
 * Packed ragged sequences: sequence `s` is rows `offsets[s] .. offsets[s + 1]`; `prefixOf[s]` is the sequence it continues, or -1. A prefix has no
 * prefix of its own and comes before its users. Query `i` of `s` sees all of its prefix and its own tokens `<= i`.
 * Positions count from the start of the prefix; with `window > 0` a query at position `p` sees only positions `> p - window`. 0 means no window.
 */
export interface CausalAttentionAttrs {
  offsets: Int32Array;
  prefixOf: Int32Array;
  scale: number;
  window: number;
}

/** `q [T, H, Dh]`, `k [T, Hkv, Dh]`, `v [T, Hkv, Dh]` → `[o [T, H, Dh], lse [T, H]]`; query head `h` reads key head `floor(h / (H / Hkv))`. In bf16, `native` rounds `k` and `v` to it. */
export const EspalierCausalAttention = 'EspalierCausalAttention';
export interface CausalAttentionInputs {
  q: TensorInfo;
  k: TensorInfo;
  v: TensorInfo;
}

/** `dy [T, H, Dh]` with the inputs and outputs of the forward pass → `[dq, dk, dv]`. */
export const EspalierCausalAttentionGrad = 'EspalierCausalAttentionGrad';
export interface CausalAttentionGradInputs {
  dy: TensorInfo;
  q: TensorInfo;
  k: TensorInfo;
  v: TensorInfo;
  o: TensorInfo;
  lse: TensorInfo;
}

/** `gate`, `up` of one shape → `silu(gate) * up` (Shazeer 2020). */
export const EspalierSwiglu = 'EspalierSwiglu';
export interface SwigluInputs {
  gate: TensorInfo;
  up: TensorInfo;
}

/** → `[dgate, dup]`. */
export const EspalierSwigluGrad = 'EspalierSwigluGrad';
export interface SwigluGradInputs {
  dy: TensorInfo;
  gate: TensorInfo;
  up: TensorInfo;
}

/** `x` → `0.5 x (1 + tanh(sqrt(2/π) (x + 0.044715 x³)))` ("gelu_new"; Hendrycks & Gimpel 2016). */
export const EspalierGelu = 'EspalierGelu';
export interface GeluInputs {
  x: TensorInfo;
}

/** → `dx`. */
export const EspalierGeluGrad = 'EspalierGeluGrad';
export interface GeluGradInputs {
  dy: TensorInfo;
  x: TensorInfo;
}

/** `weight [V, D]` → rows `ids`: `[ids.length, D]`. */
export const EspalierEmbedding = 'EspalierEmbedding';
export interface EmbeddingInputs {
  weight: TensorInfo;
}
export interface EmbeddingAttrs {
  ids: Int32Array;
}

/** `dy [T, D]` → `dweight [V, D]`: rows of `dy` added up by id, in row order. */
export const EspalierEmbeddingGrad = 'EspalierEmbeddingGrad';
export interface EmbeddingGradInputs {
  dy: TensorInfo;
}
export interface EmbeddingGradAttrs {
  ids: Int32Array;
  vocabSize: number;
}

/**
 * `hidden [A, D]`, `weight [V, D]`, `bias? [V]` → `[logps [A], entropy [A] or [0], sumSquares [A] or [0], lse [A], kept [N]]`, in chunks: `[A, V]` is never whole.
 * With `z = (hidden weightᵀ + bias) / temperature` and `p = softmax(z)`: `logps[a] = z[targets[a]] - lse[a]`, `entropy = -Σ p log p` (nats),
 * `sumSquares = Σ p²`, `lse = log Σ exp z`. What was not asked for has shape `[0]`. `kept` is what a backend likes to find again in the backward pass, within a bound of its own, or `[0]`.
 */
export const EspalierTokenOutputs = 'EspalierTokenOutputs';
export interface TokenOutputsInputs {
  hidden: TensorInfo;
  weight: TensorInfo;
  bias?: TensorInfo;
}
export interface TokenOutputsAttrs {
  targets: Int32Array;
  temperature: number;
  entropy: boolean;
  sumSquares: boolean;
  /** Nobody asks for the weight's gradient: `dWeight` is `[0]`. */
  frozenWeight?: boolean;
  /** A backward pass may follow, and find again what is kept for it. */
  keep?: boolean;
}

/**
 * `dLogps [A]`, `dEntropy [A]` (or `[0]`), `dSumSquares [A]` (or `[0]`) with the inputs and the outputs of the forward pass → `[dHidden [A, D], dWeight [V, D]]`,
 * and `dBias [V]` as a third when a bias went in. `entropy` and `sumSquares` may be `[0]` where their gradient is `[0]`.
 */
export const EspalierTokenOutputsGrad = 'EspalierTokenOutputsGrad';
export interface TokenOutputsGradInputs {
  dLogps: TensorInfo;
  dEntropy: TensorInfo;
  dSumSquares: TensorInfo;
  hidden: TensorInfo;
  weight: TensorInfo;
  bias?: TensorInfo;
  entropy: TensorInfo;
  sumSquares: TensorInfo;
  lse: TensorInfo;
  logps: TensorInfo;
  kept: TensorInfo;
}

/**
 * Two LM heads over one vocabulary: `hidden [A, D]`, `weight [V, D]`, `teacherHidden [A, E]`, `teacherWeight [V, E]` → `[divergence [A], lse [A], teacherLse [A],
 * studentKl [A]]`. With p and q the softmax of both heads' logits / temperature and m = (1 - beta) p + beta q: the divergence is KL(q ‖ p) for beta 0, KL(p ‖ q) for
 * beta 1, else beta KL(q ‖ m) + (1 - beta) KL(p ‖ m); studentKl is KL(p ‖ q) for beta 1, KL(p ‖ m) between, 0 for beta 0. No gradient for the teacher.
 */
export const EspalierTokenDivergence = 'EspalierTokenDivergence';
export interface TokenDivergenceInputs {
  hidden: TensorInfo;
  weight: TensorInfo;
  teacherHidden: TensorInfo;
  teacherWeight: TensorInfo;
}
export interface TokenDivergenceAttrs {
  beta: number;
  temperature: number;
}

/** `dDivergence [A]` with the inputs and the last three outputs of the forward pass → `[dHidden [A, D], dWeight [V, D]]`. */
export const EspalierTokenDivergenceGrad = 'EspalierTokenDivergenceGrad';
export interface TokenDivergenceGradInputs extends TokenDivergenceInputs {
  dDivergence: TensorInfo;
  lse: TensorInfo;
  teacherLse: TensorInfo;
  studentKl: TensorInfo;
}

/** `cache [C, W]`, `values [B, ...]` with `B * W` numbers → the cache with row `rows[b]` set to `values[b]`. Consumes `cache`. Later rows win. */
export const EspalierCacheWrite = 'EspalierCacheWrite';
export interface CacheWriteInputs {
  cache: TensorInfo;
  values: TensorInfo;
}
export interface CacheWriteAttrs {
  rows: Int32Array;
}

/**
 * `q [B, H, Dh]`, `cacheK [C, Hkv * Dh]`, `cacheV [C, Hkv * Dh]` → `o [B, H, Dh]`. On `native`, a cache may be int32 of half the width: two numbers of bfloat16 in each. Row `b` attends to cache rows
 * `ranges[4b] .. + ranges[4b + 1]` (prefix), then `ranges[4b + 2] .. + ranges[4b + 3]` (own; the newest token is its last row and sees itself).
 * With `window > 0` only the last `window` rows of that concatenation.
 */
export const EspalierCachedAttention = 'EspalierCachedAttention';
export interface CachedAttentionInputs {
  q: TensorInfo;
  cacheK: TensorInfo;
  cacheV: TensorInfo;
}
export interface CachedAttentionAttrs {
  ranges: Int32Array;
  scale: number;
  window: number;
}

/** A linear layer `[N, K]`, `[N]`; its low-rank adapter, where it has one, adds `scale (x Aᵀ) Bᵀ`. */
export interface LinearLayer {
  weight: TensorInfo;
  bias?: TensorInfo;
  adapter?: { a: TensorInfo; b: TensorInfo; scale: number }; // a [r, K], b [N, r]
}

/** The parameters of a block of a Llama-like decoder. */
export interface DecodeBlock {
  attentionNorm: TensorInfo; // [D]
  q: LinearLayer;
  k: LinearLayer;
  v: LinearLayer;
  qNorm?: TensorInfo; // [Dh], of each head
  kNorm?: TensorInfo; // [Dh]
  o: LinearLayer;
  mlpNorm: TensorInfo; // [D]
  gate: LinearLayer;
  up: LinearLayer;
  down: LinearLayer;
  window?: number;
}

/**
 * All blocks of a decoder for one new token a row: `x [B, D]` → `[B, D]`. It gives what the separate kernels give one after another, to the bit:
 * `EspalierRmsNorm`, `EspalierLinear` (q, k, v), `EspalierRmsNorm` of heads where there is one, `EspalierRotary` (q, k), `EspalierCacheWrite` (k, v),
 * `EspalierCachedAttention`, `EspalierLinear` (o), the sum with the residual, `EspalierRmsNorm`, `EspalierLinear` (gate, up), `EspalierSwiglu`, `EspalierLinear`
 * (down), the sum; a layer with an adapter: two more `EspalierLinear` and `EspalierScaledAdd`. Keys and values are written into the caches in place. There is no portable version and no gradient: whoever calls it has the separate
 * kernels for where it is not registered, and on a tape.
 */
export const EspalierDecodeBlocks = 'EspalierDecodeBlocks';
export interface DecodeBlocksInputs {
  x: TensorInfo;
}
export interface DecodeBlocksAttrs {
  blocks: readonly DecodeBlock[];
  /** Keys and values of each block, `[C, Hkv * Dh]`. */
  caches: readonly { k: TensorInfo; v: TensorInfo }[];
  heads: number;
  kvHeads: number;
  eps: number;
  /** Of the scores. */
  scale: number;
  positions: Int32Array; // [B]
  invFreq: Float32Array;
  rotaryScaling: number;
  /** Of the new keys and values `[B]`. */
  rows: Int32Array;
  /** As in `EspalierCachedAttention` `[4 B]`. */
  ranges: Int32Array;
  /** Where the outputs of layers and attention go, in place: for each block those of q, k, v (before norm and rotation of heads), attention (`o`, then `lse [C, H]`), o, gate, up, down, each `[C, N]`; and the row of each token `[B]`, negative where it is not kept. */
  kept?: { arrays: readonly TensorInfo[]; rows: Int32Array } | undefined;
}

/**
 * `logits [B, V]` → `[tokens int32 [B], logps [B]]`. The algorithm stands in `crate/src/sampling.rs`; every array is indexed by row.
 * `temperature` 0 is greedy; `topK` 0, `topP` 1, `minP` 0 and `repetitionPenalty` 1 switch the filters off.
 * `history` (with `historyOffsets [B + 1]`) holds the token ids that the repetition penalty looks at.
 */
export const EspalierSampleTokens = 'EspalierSampleTokens';
export interface SampleTokensInputs {
  logits: TensorInfo;
}
export interface SampleTokensAttrs {
  seeds: Uint32Array; // [2 B] low and high words
  samples: Uint32Array; // [B]
  positions: Uint32Array; // [B]
  temperature: Float64Array; // [B]
  topK: Int32Array; // [B]
  topP: Float64Array; // [B]
  minP: Float64Array; // [B]
  repetitionPenalty: Float64Array; // [B]
  history: Int32Array;
  historyOffsets: Int32Array; // [B + 1]
}
