import { EspalierEmbedding, EspalierEmbeddingGrad } from '../fused-kernels';
import type { EmbeddingAttrs, EmbeddingGradAttrs, EmbeddingGradInputs, EmbeddingInputs } from '../fused-kernels';
import { waitingKernel } from './kernel';

export const embeddingKernels = [
  waitingKernel<EmbeddingInputs, EmbeddingAttrs>(EspalierEmbedding, ({ inputs: { weight }, attrs: { ids }, backend }) => {
    const [rows, width] = weight.shape;
    const out = backend.output([ids.length, width]);
    backend.later.gatherRows(backend.floats(weight), ids, out.values, rows, width);
    return out.info;
  }),
  waitingKernel<EmbeddingGradInputs, EmbeddingGradAttrs>(EspalierEmbeddingGrad, ({ inputs: { dy }, attrs: { ids, vocabSize }, backend }) => {
    const width = dy.shape[1];
    const dweight = backend.output([vocabSize, width]);
    backend.later.scatterAddRows(backend.floats(dy), ids, dweight.values, vocabSize, width, true);
    return dweight.info;
  }),
];
