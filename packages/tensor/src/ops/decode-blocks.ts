import { EspalierDecodeBlocks } from '@espalier/native';
import type { DecodeBlocksAttrs } from '@espalier/native';
import { engine, getKernel } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { arbitrary, check, dims, run } from './kernel';
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
  /** Where the outputs of each block's layers go, in place, and in which row of it those of each token `[B]`: negative, not at all. */
  kept?: { blocks: readonly BlockOutputs[]; rows: Int32Array } | undefined;
}

/** What the layers and the attention of a block gave, a row a token: what its backward pass starts from besides its input. */
export interface BlockOutputs {
  q: Tensor; // [T, H Dh], before norm and rotation of heads
  k: Tensor; // [T, Hkv Dh]
  v: Tensor; // [T, Hkv Dh]
  mixed: Tensor; // [T, H Dh], of attention
  lse: Tensor; // [T, H], of attention
  o: Tensor; // [T, D]
  gate: Tensor; // [T, F]
  up: Tensor; // [T, F]
  down: Tensor; // [T, D]
}

/** The names of {@link BlockOutputs}, in the order in which the kernel takes them. */
export const blockOutputNames = ['q', 'k', 'v', 'mixed', 'lse', 'o', 'gate', 'up', 'down'] as const satisfies readonly (keyof BlockOutputs)[];

/** Room for {@link BlockOutputs} of `capacity` tokens, of arbitrary contents: for `decodeBlocks` and `cacheWrite` to write to. */
export function roomForOutputs(block: DecodeBlockTensors, heads: number, capacity: number): BlockOutputs {
  const [q, k, v, o, gate, up, down] = [block.q, block.k, block.v, block.o, block.gate, block.up, block.down].map(({ weight }) => arbitrary([capacity, dims(weight)[0]]));
  return { q, k, v, mixed: arbitrary([capacity, dims(block.q.weight)[0]]), lse: arbitrary([capacity, heads]), o, gate, up, down };
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
  check(!options.kept || (options.kept.blocks.length === blocks.length && options.kept.rows.length === batch), 'decodeBlocks', () => `${options.kept?.blocks.length} blocks' outputs and ${options.kept?.rows.length} rows of them for ${blocks.length} blocks of x [${x.shape}]`);
  check(positions.length === batch && rows.length === batch && ranges.length === 4 * batch, 'decodeBlocks', () => `x [${x.shape}] has not ${positions.length} positions, ${rows.length} cache rows and ${ranges.length} range numbers`);
  const kept = options.kept && { arrays: options.kept.blocks.flatMap((outputs) => blockOutputNames.map((name) => outputs[name])), rows: options.kept.rows };
  return run(EspalierDecodeBlocks, { x }, { ...options, kept, blocks } satisfies DecodeBlocksAttrs);
}
