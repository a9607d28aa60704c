import { EspalierError } from '@espalier/spec';
import { EspalierEmbedding, EspalierEmbeddingGrad } from '@espalier/native';
import type { EmbeddingAttrs, EmbeddingGradAttrs, EmbeddingGradInputs, EmbeddingInputs } from '@espalier/native';
import { gather, scatterND, tensor1d, tensor2d } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { dims, fusedGradient, portableKernel, run } from './kernel';

/**
 * Rows `ids` of a table.
 * @param weight `[V, D]`
 * @returns `[ids.length, D]`
 * @throws EspalierError `bad_data` when an id is outside `0 .. V - 1`
 */
export function embedding(weight: Tensor, ids: Int32Array): Tensor {
  const vocabSize = weight.shape[0];
  for (let i = 0; i < ids.length; i++) {
    if (ids[i] < 0 || ids[i] >= vocabSize) throw new EspalierError('bad_data', `index ${ids[i]} at place ${i} is outside a table of ${vocabSize} rows`);
  }
  return run(EspalierEmbedding, { weight }, { ids, vocabSize } satisfies EmbeddingGradAttrs);
}

portableKernel<EmbeddingInputs, EmbeddingAttrs>(EspalierEmbedding, ({ weight }, { ids }) => gather(weight, tensor1d(ids, 'int32')));

portableKernel<EmbeddingGradInputs, EmbeddingGradAttrs>(EspalierEmbeddingGrad, ({ dy }, { ids, vocabSize }) => {
  const width = dims(dy)[1];
  return scatterND(tensor2d(ids, [ids.length, 1], 'int32'), dy, [vocabSize, width]); // adds where ids repeat
});

fusedGradient<EmbeddingGradAttrs>(EspalierEmbedding, {}, ([dy], _saved, attrs) => ({ weight: () => run(EspalierEmbeddingGrad, { dy }, attrs) }));
