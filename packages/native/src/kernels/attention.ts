import { EspalierCachedAttention, EspalierCausalAttention, EspalierCausalAttentionGrad } from '../fused-kernels';
import type { CachedAttentionAttrs, CachedAttentionInputs, CausalAttentionAttrs, CausalAttentionGradInputs, CausalAttentionInputs } from '../fused-kernels';
import { nativeKernel } from './kernel';

export const attentionKernels = [
  nativeKernel<CausalAttentionInputs, CausalAttentionAttrs>(EspalierCausalAttention, ({ inputs: { q, k, v }, attrs, backend }) => {
    const [tokens, heads, width] = q.shape;
    const o = backend.output(q.shape);
    const lse = backend.output([tokens, heads]);
    backend.binding.causalAttention(
      backend.floats(q), backend.floats(k), backend.floats(v), attrs.offsets, attrs.prefixOf, o.values, lse.values,
      heads, k.shape[1], width, attrs.scale, attrs.window,
    );
    return [o.info, lse.info];
  }),
  nativeKernel<CausalAttentionGradInputs, CausalAttentionAttrs>(EspalierCausalAttentionGrad, ({ inputs, attrs, backend }) => {
    const { dy, q, k, v, o, lse } = inputs;
    const [, heads, width] = q.shape;
    const dq = backend.output(q.shape);
    const dk = backend.output(k.shape);
    const dv = backend.output(v.shape);
    backend.binding.causalAttentionGrad(
      backend.floats(dy), backend.floats(q), backend.floats(k), backend.floats(v), backend.floats(o), backend.floats(lse), attrs.offsets, attrs.prefixOf,
      dq.values, dk.values, dv.values, heads, k.shape[1], width, attrs.scale, attrs.window,
    );
    return [dq.info, dk.info, dv.info];
  }),
  nativeKernel<CachedAttentionInputs, CachedAttentionAttrs>(EspalierCachedAttention, ({ inputs: { q, cacheK, cacheV }, attrs, backend }) => {
    const [, heads, width] = q.shape;
    const o = backend.output(q.shape);
    backend.binding.cachedAttention(
      backend.floats(q), backend.floats(cacheK), backend.floats(cacheV), attrs.ranges, o.values,
      heads, cacheK.shape[1] / width, width, attrs.scale, attrs.window,
    );
    return o.info;
  }),
];
