import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../backend';
import { EspalierCachedAttention, EspalierCacheWrite, EspalierCausalAttention, EspalierCausalAttentionGrad } from '../fused-kernels';
import type { CachedAttentionAttrs, CachedAttentionInputs, CacheWriteAttrs, CacheWriteInputs, CausalAttentionAttrs, CausalAttentionGradInputs, CausalAttentionInputs } from '../fused-kernels';
import type { CacheFormat } from '../kernel-functions';
import { waitingKernel } from './kernel';

/** How a cache is read, and how many numbers a row of it has. */
export function cacheFormat(cache: TensorInfo, backend: NativeBackend): { format: CacheFormat; width: number } {
  const columns = cache.shape[1];
  if (cache.dtype === 'int32') return { format: 'bf16', width: 2 * columns };
  return { format: backend.precision === 'bf16' ? 'rounded' : 'fp32', width: columns };
}

export const attentionKernels = [
  waitingKernel<CausalAttentionInputs, CausalAttentionAttrs>(EspalierCausalAttention, ({ inputs: { q, k, v }, attrs, backend }) => {
    const [tokens, heads, width] = q.shape;
    const o = backend.output(q.shape);
    const lse = backend.output([tokens, heads]);
    backend.later.causalAttention(
      backend.floats(q), backend.floats(k), backend.floats(v), attrs.offsets, attrs.prefixOf, o.values, lse.values,
      heads, k.shape[1], width, attrs.scale, attrs.window, backend.precision === 'bf16',
    );
    return [o.info, lse.info];
  }),
  waitingKernel<CausalAttentionGradInputs, CausalAttentionAttrs>(EspalierCausalAttentionGrad, ({ inputs, attrs, backend }) => {
    const { dy, q, k, v, o, lse } = inputs;
    const [, heads, width] = q.shape;
    const dq = backend.output(q.shape);
    const dk = backend.output(k.shape);
    const dv = backend.output(v.shape);
    backend.later.causalAttentionGrad(
      backend.floats(dy), backend.floats(q), backend.floats(k), backend.floats(v), backend.floats(o), backend.floats(lse), attrs.offsets, attrs.prefixOf,
      dq.values, dk.values, dv.values, heads, k.shape[1], width, attrs.scale, attrs.window, backend.precision === 'bf16',
    );
    return [dq.info, dk.info, dv.info];
  }),
  waitingKernel<CachedAttentionInputs, CachedAttentionAttrs>(EspalierCachedAttention, ({ inputs: { q, cacheK, cacheV }, attrs, backend }) => {
    const [, heads, dim] = q.shape;
    const { format, width } = cacheFormat(cacheK, backend);
    const o = backend.output(q.shape);
    backend.later.cachedAttention(
      backend.floats(q), backend.words(cacheK), backend.words(cacheV), attrs.ranges, o.values,
      heads, width / dim, dim, attrs.scale, attrs.window, format,
    );
    return o.info;
  }),
  waitingKernel<CacheWriteInputs, CacheWriteAttrs>(EspalierCacheWrite, ({ inputs: { cache, values }, attrs: { rows }, backend }) => {
    // What has the cache's own type, as rows of another cache have, is copied as it is.
    const { format, width } = values.dtype === cache.dtype ? { format: 'fp32' as const, width: cache.shape[1] } : cacheFormat(cache, backend);
    backend.later.cacheWrite(backend.words(cache), backend.words(values), rows, width, format);
    backend.weights.changed(cache.dataId as object);
    return backend.share(cache);
  }),
];
