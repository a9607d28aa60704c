import { EspalierDecodeBlocks } from '@espalier/native';
import type { DecodeBlocksAttrs } from '@espalier/native';
import { engine, getKernel } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { check, dims, run } from './kernel';
import type { LinearLayer } from './linears';

/** The parameters of a block of a Llama-like decoder. */
export interface DecodeBlockTensors {
  attentionNorm: Tensor; // [D]
  q: LinearLayer;
  k: LinearLayer;
  v: LinearLayer;
  qNorm?: Tensor; // [Dh], of each query head
  kNorm?: Tensor; // [Dh]
  o: LinearLayer;
  mlpNorm: Tensor; // [D]
  gate: LinearLayer;
  up: LinearLayer;
  down: LinearLayer;
  /** How many of the last positions are seen. All, when it is left out. */
  window?: number;
}

/** What the blocks of a decoder have in common, and where the new tokens stand. */
export interface DecodeBlocksOptions {
  /** Keys and values of each block, as `emptyCache` makes room for them. */
  caches: readonly { k: Tensor; v: Tensor }[];
  heads: number;
  kvHeads: number;
  /** Of the norms. */
  eps: number;
  /** Of the scores. */
  scale: number;
  positions: Int32Array; // [B]
  invFreq: Float32Array;
  /** Factor of cosine and sine. */
  rotaryScaling: number;
  /** Cache rows of the new keys and values `[B]`. */
  rows: Int32Array;
  /** What each row attends to `[4 B]`: see `cachedAttention`. */
  ranges: Int32Array;
}

/** Whether {@link decodeBlocks} can be called here: the backend has it, and nothing is being recorded, for it has no gradient. */
export function hasDecodeBlocks(): boolean {
  return getKernel(EspalierDecodeBlocks, engine().backendName) !== undefined && !engine().isTapeOn();
}

/**
 * All blocks of a decoder for one new token a sequence, in one call: norms, projections, rotary positions, attention to the cache and MLP. To the bit what `rmsNorm`,
 * `linear`, `rotary`, `cacheWrite`, `cachedAttention`, `residualAdd` and `swiglu` give one after another, which is what to call where {@link hasDecodeBlocks} says no.
 * The new keys and values are written into the caches in place.
 * @param x `[B, D]`
 * @returns `[B, D]`
 */
export function decodeBlocks(x: Tensor, blocks: readonly DecodeBlockTensors[], options: DecodeBlocksOptions): Tensor {
  const batch = dims(x)[0];
  const { caches, positions, rows, ranges } = options;
  check(caches.length === blocks.length, 'decodeBlocks', () => `${blocks.length} blocks came with ${caches.length} caches`);
  check(positions.length === batch && rows.length === batch && ranges.length === 4 * batch, 'decodeBlocks', () => `x [${x.shape}] has not ${positions.length} positions, ${rows.length} cache rows and ${ranges.length} range numbers`);
  return run(EspalierDecodeBlocks, { x }, { ...options, blocks } satisfies DecodeBlocksAttrs);
}
