import { EspalierCacheWrite, EspalierCachedAttention } from '@espalier/native';
import type { CacheWriteAttrs, CacheWriteInputs, CachedAttentionAttrs, CachedAttentionInputs } from '@espalier/native';
import { concat, getBackend, matMul, mul, reshape, slice, softmax, tensor2d, tensorScatterUpdate, transpose, zeros } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { matmulPrecision } from '../precision';
import type { AttentionOptions } from './causal-attention';
import { backingArray, check, dims, portableKernel, run, sameData } from './kernel';

/** Numbers of a row. */
const rowWidth = (cache: Tensor) => dims(cache)[1] * (cache.dtype === 'int32' ? 2 : 1);

/** How the selected backend would keep keys or values: in bfloat16 where it rounds them to it in any case, two numbers to an int32. */
function storage(width: number, headDim: number): { columns: number; dtype: 'float32' | 'int32' } {
  const halves = getBackend() === 'native' && matmulPrecision() === 'bf16' && headDim % 2 === 0;
  return halves ? { columns: width / 2, dtype: 'int32' } : { columns: width, dtype: 'float32' };
}

/** Bytes that a row of {@link emptyCache} takes. */
export const cacheRowBytes = (width: number, headDim: number): number => 4 * storage(width, headDim).columns;

/**
 * A cache of keys or values, with room for `capacity` tokens: for `cacheWrite`, `cachedAttention` and `decodeBlocks`. On `native` in bf16 it holds bfloat16, to which
 * `causalAttention` rounds keys and values there, so that both give the same.
 * @param width numbers a token: key heads times `headDim`
 */
export function emptyCache(capacity: number, width: number, headDim: number): Tensor {
  check(width % headDim === 0, 'emptyCache', () => `rows of ${width} are not whole heads of ${headDim}`);
  const { columns, dtype } = storage(width, headDim);
  return zeros([capacity, columns], dtype);
}

/**
 * Writes rows into a KV cache, in place where the backend can. Consumes `cache`: use the returned tensor, dispose the one that went in.
 * @param cache `[C, W]`, as `emptyCache` makes it
 * @param values `[B, ...]`, `W` numbers a row; or rows of such a cache
 * @param rows `[B]` places in the cache
 */
export function cacheWrite(cache: Tensor, values: Tensor, rows: Int32Array): Tensor {
  const capacity = dims(cache)[0];
  const width = values.dtype === cache.dtype ? dims(cache)[1] : rowWidth(cache);
  check(values.shape[0] === rows.length && values.size === rows.length * width, 'cacheWrite', () => `values [${values.shape}] do not fit ${rows.length} rows of ${width}`);
  for (const row of rows) check(row >= 0 && row < capacity, 'cacheWrite', () => `row ${row} is outside a cache of ${capacity}`);
  return run(EspalierCacheWrite, { cache, values }, { rows } satisfies CacheWriteAttrs);
}

/**
 * One new token a sequence attends to cached keys and values. Row `b` sees cache rows `ranges[4b] .. + ranges[4b + 1]` (a shared prefix), then
 * `ranges[4b + 2] .. + ranges[4b + 3]` (its own; the newest token, itself, is the last).
 * @param q `[B, H, Dh]`
 * @param cacheK `[C, Hkv * Dh]`
 * @param cacheV `[C, Hkv * Dh]`
 * @param ranges `[4 B]`
 * @returns `[B, H, Dh]`
 */
export function cachedAttention(q: Tensor, cacheK: Tensor, cacheV: Tensor, ranges: Int32Array, options: AttentionOptions): Tensor {
  check(ranges.length === 4 * q.shape[0] && rowWidth(cacheK) % dims(q)[2] === 0 && cacheK.dtype === cacheV.dtype, 'cachedAttention', () => `q [${q.shape}], cache [${cacheK.shape}] of ${cacheK.dtype} and ${ranges.length} range numbers do not fit`);
  return run(EspalierCachedAttention, { q, cacheK, cacheV }, { ranges, scale: options.scale, window: options.window ?? 0 } satisfies CachedAttentionAttrs);
}

portableKernel<CacheWriteInputs, CacheWriteAttrs>(EspalierCacheWrite, ({ cache, values }, { rows }) => {
  const width = dims(cache)[1];
  const into = backingArray(cache);
  const from = into && backingArray(values);
  if (!into || !from) {
    const last = [...new Map([...rows].map((row, b) => [row, b]))]; // later rows win
    const picked = last.length === rows.length ? reshape(values, [rows.length, width]) : concat(last.map(([, b]) => slice(reshape(values, [rows.length, width]), [b, 0], [1, width])), 0);
    return tensorScatterUpdate(cache, tensor2d(last.map(([row]) => row), [last.length, 1], 'int32'), picked);
  }
  for (let b = 0; b < rows.length; b++) into.set(from.subarray(b * width, (b + 1) * width), rows[b] * width);
  return sameData(cache);
});

portableKernel<CachedAttentionInputs, CachedAttentionAttrs>(EspalierCachedAttention, ({ q, cacheK, cacheV }, { ranges, scale, window }) => {
  const [batch, heads, width] = dims(q);
  const groups = dims(cacheK)[1] / width;
  const outs: Tensor[] = [];
  for (let b = 0; b < batch; b++) {
    let [prefixStart, prefixLength, ownStart, ownLength] = ranges.subarray(4 * b, 4 * b + 4);
    if (window > 0) {
      const skipped = Math.max(0, prefixLength + ownLength - window);
      const skippedPrefix = Math.min(skipped, prefixLength);
      prefixStart += skippedPrefix;
      prefixLength -= skippedPrefix;
      ownStart += skipped - skippedPrefix;
      ownLength -= skipped - skippedPrefix;
    }
    const seen = (cache: Tensor) => {
      const pieces: Tensor[] = [];
      if (prefixLength > 0) pieces.push(slice(cache, [prefixStart, 0], [prefixLength, -1]));
      if (ownLength > 0) pieces.push(slice(cache, [ownStart, 0], [ownLength, -1]));
      return transpose(reshape(concat(pieces, 0), [-1, groups, width]), [1, 0, 2]); // [Hkv, m, Dh]
    };
    const query = reshape(slice(q, [b, 0, 0], [1, -1, -1]), [groups, heads / groups, width]);
    const p = softmax(mul(matMul(query, seen(cacheK), false, true), scale), -1); // [Hkv, G, m]
    outs.push(reshape(matMul(p, seen(cacheV)), [1, heads, width]));
  }
  return concat(outs, 0);
});
