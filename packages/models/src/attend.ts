import { cachedAttention, causalAttention } from '@espalier/tensor';
import type { AttentionOptions, AttentionOutputs, SequenceLayout, Tensor } from '@espalier/tensor';
import type { DecoderConfig } from './config';

/**
 * How queries meet keys: training and prefill attend within the batch, decoding to a cache.
 * `q [T, H, Dh]`, `k [T, Hkv, Dh]`, `v [T, Hkv, Dh]`, rotated → `[T, H, Dh]`. `known`: what it gives, where that need not be computed.
 */
export type Attend = (layer: number, q: Tensor, k: Tensor, v: Tensor, known?: AttentionOutputs) => Tensor;

/** Keys and values of the tokens before, for a step that adds one token to each of B sequences. */
export interface StepCache {
  /** Where the new keys and values go `[B]`. */
  readonly rows: Int32Array;
  /** What each sequence sees `[4 B]`: start and length of a shared prefix, then of its own rows, of which the new one is the last. */
  readonly ranges: Int32Array;
  /** A layer's keys and values, as `emptyCache` makes room for them. Rows may be written into them in place. */
  layer(layer: number): { k: Tensor; v: Tensor };
  /** Stores `[B, Hkv, Dh]` in `rows`. */
  write(layer: number, k: Tensor, v: Tensor): void;
}

/** Scale and window of a layer's attention. */
export function attentionOptions(config: DecoderConfig, layer: number): AttentionOptions {
  const window = config.slidingLayers?.[layer] === false ? undefined : config.slidingWindow;
  return { scale: config.headDim ** -0.5, window };
}

/** Attention of new tokens, one a sequence, to what is cached. */
export const attendCached =
  (config: DecoderConfig, cache: StepCache): Attend =>
  (layer, q, k, v) => {
    cache.write(layer, k, v);
    const { k: keys, v: values } = cache.layer(layer);
    return cachedAttention(q, keys, values, cache.ranges, attentionOptions(config, layer));
  };

/** Attention within a packed batch: training, scoring, prefill. */
export const attendCausally =
  (config: DecoderConfig, layout: SequenceLayout): Attend =>
  (layer, q, k, v, known) =>
    causalAttention(q, k, v, layout, attentionOptions(config, layer), known);
