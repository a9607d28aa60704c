import type { TensorInfo } from '@tensorflow/tfjs-core';
import { EspalierDecodeBlocks } from '../fused-kernels';
import type { DecodeBlocksAttrs, DecodeBlocksInputs } from '../fused-kernels';
import { nativeKernel } from './kernel';

export const decodeBlocksKernels = [
  nativeKernel<DecodeBlocksInputs, DecodeBlocksAttrs>(EspalierDecodeBlocks, ({ inputs: { x }, attrs, backend }) => {
    const { blocks, heads, kvHeads, eps, positions, invFreq, rotaryScaling, rows, ranges } = attrs;
    const floats = (tensor: TensorInfo | undefined) => (tensor ? backend.floats(tensor) : null);
    const y = backend.output(x.shape);
    y.values.set(backend.floats(x));
    for (const block of blocks) {
      const layers = [block.q, block.k, block.v, block.o, block.gate, block.up, block.down];
      const adapted = layers.flatMap(({ adapter }, layer) => (adapter ? [{ layer, ...adapter }] : []));
      backend.binding.decodeBlock(
        y.values,
        [block.attentionNorm, block.mlpNorm, block.qNorm, block.kNorm].map(floats),
        layers.map(({ weight }) => backend.packedNow(weight)),
        layers.map(({ bias }) => floats(bias)),
        positions, invFreq, backend.floats(block.cacheK), backend.floats(block.cacheV), rows, ranges,
        { heads, kvHeads, dim: block.cacheK.shape[1] / kvHeads, eps, scale: block.scale, window: block.window, rotaryScaling },
        adapted.map(({ layer, scale }) => ({ layer, scale })),
        adapted.flatMap(({ a, b }) => [backend.packedNow(a), backend.packedNow(b)]),
      );
    }
    return y.info;
  }),
];
