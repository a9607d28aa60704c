import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { PackedWeight } from '../binding';
import { EspalierDecodeBlocks } from '../fused-kernels';
import type { DecodeBlocksAttrs, DecodeBlocksInputs } from '../fused-kernels';
import type { DecodeBlocksAdapter } from '../kernel-functions';
import { cacheFormat } from './attention';
import { nativeKernel } from './kernel';

export const decodeBlocksKernels = [
  nativeKernel<DecodeBlocksInputs, DecodeBlocksAttrs>(EspalierDecodeBlocks, ({ inputs: { x }, attrs, backend }) => {
    const { blocks, caches, heads, kvHeads, eps, scale, positions, invFreq, rotaryScaling, rows, ranges } = attrs;
    const y = backend.output(x.shape);
    y.values.set(backend.floats(x));
    if (blocks.length === 0) return y.info;
    const norms: (Float32Array | null)[] = [];
    const weights: PackedWeight[] = [];
    const biases: (Float32Array | null)[] = [];
    const adapted: DecodeBlocksAdapter[] = [];
    const pairs: PackedWeight[] = [];
    const floats = (tensor: TensorInfo | undefined) => (tensor ? backend.floats(tensor) : null);
    for (const { attentionNorm, mlpNorm, qNorm, kNorm, q, k, v, o, gate, up, down } of blocks) {
      norms.push(floats(attentionNorm), floats(mlpNorm), floats(qNorm), floats(kNorm));
      for (const { weight, bias, adapter } of [q, k, v, o, gate, up, down]) {
        if (adapter) {
          adapted.push({ weight: weights.length, scale: adapter.scale });
          pairs.push(backend.packedNow(adapter.a), backend.packedNow(adapter.b));
        }
        weights.push(backend.packedNow(weight));
        biases.push(floats(bias));
      }
    }
    const { format, width } = cacheFormat(caches[0].k, backend);
    const shape = { heads, kvHeads, dim: width / kvHeads, eps, scale, rotaryScaling, format };
    const windows = Uint32Array.from(blocks, ({ window }) => window ?? 0);
    backend.binding.decodeBlocks(y.values, norms, weights, biases, positions, invFreq, caches.flatMap(({ k, v }) => [backend.words(k), backend.words(v)]), rows, ranges, windows, shape, adapted, pairs);
    return y.info;
  }),
];
