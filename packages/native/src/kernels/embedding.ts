import { EspalierEmbedding, EspalierEmbeddingGrad } from '../fused-kernels';
import type { EmbeddingAttrs, EmbeddingGradAttrs, EmbeddingGradInputs, EmbeddingInputs } from '../fused-kernels';
import { nativeKernel } from './kernel';

export const embeddingKernels = [
  nativeKernel<EmbeddingInputs, EmbeddingAttrs>(EspalierEmbedding, ({ inputs: { weight }, attrs: { ids }, backend }) => {
    const [rows, width] = weight.shape;
    const out = backend.output([ids.length, width]);
    backend.binding.gatherRows(backend.floats(weight), ids, out.values, rows, width);
    return out.info;
  }),
  nativeKernel<EmbeddingGradInputs, EmbeddingGradAttrs>(EspalierEmbeddingGrad, ({ inputs: { dy }, attrs: { ids, vocabSize }, backend }) => {
    const width = dy.shape[1];
    const dweight = backend.output([vocabSize, width]);
    backend.binding.scatterAddRows(backend.floats(dy), ids, dweight.values, vocabSize, width, true);
    return dweight.info;
  }),
];
