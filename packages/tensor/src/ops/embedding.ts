import { EspalierError } from '@espalier/spec';
import { EspalierEmbedding, EspalierEmbeddingGrad, nativeBackend } from '@espalier/native';
import type { EmbeddingAttrs, EmbeddingGradAttrs, EmbeddingGradInputs, EmbeddingInputs } from '@espalier/native';
import { add, engine, gather, mul, scatterND, tensor1d, tensor2d } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { backingArray, dims, fusedGradient, portableKernel, run, sameData } from './kernel';

type PaddedAttrs = EmbeddingGradAttrs & { paddingIndex?: number };

/**
 * Rows `ids` of a table.
 * @param weight `[V, D]`
 * @param paddingIndex a row that is looked up and gets no gradient from it, as `torch.nn.Embedding`'s `padding_idx`
 * @returns `[ids.length, D]`
 * @throws EspalierError `bad_data` when an id is outside `0 .. V - 1`
 */
export function embedding(weight: Tensor, ids: Int32Array, paddingIndex?: number): Tensor {
  const vocabSize = weight.shape[0];
  for (let i = 0; i < ids.length; i++) {
    if (ids[i] < 0 || ids[i] >= vocabSize) throw new EspalierError('bad_data', `index ${ids[i]} at place ${i} is outside a table of ${vocabSize} rows`);
  }
  return run(EspalierEmbedding, { weight }, { ids, vocabSize, paddingIndex } satisfies PaddedAttrs);
}

portableKernel<EmbeddingInputs, EmbeddingAttrs>(EspalierEmbedding, ({ weight }, { ids }) => gather(weight, tensor1d(ids, 'int32')));

portableKernel<EmbeddingGradInputs, EmbeddingGradAttrs>(EspalierEmbeddingGrad, ({ dy }, { ids, vocabSize }) => {
  const width = dims(dy)[1];
  return scatterND(tensor2d(ids, [ids.length, 1], 'int32'), dy, [vocabSize, width]); // adds where ids repeat
});

const EspalierEmbeddingGradInto = 'EspalierEmbeddingGradInto';

/** `target [V, D]` with the rows of `dy [T, D]` added by id. Consumes `target`. A tied head has filled a whole `[V, D]` before: no second one is made. */
portableKernel<{ target: unknown; dy: unknown }, EmbeddingGradAttrs>(EspalierEmbeddingGradInto, ({ target, dy }, { ids, vocabSize }) => {
  const width = dims(dy)[1];
  const native = engine().backendName === 'native' ? nativeBackend() : null;
  if (native) {
    native.binding.scatterAddRows(native.floats(dy), ids, native.floats(target), vocabSize, width, false);
    return sameData(target);
  }
  const into = backingArray(target);
  const from = backingArray(dy);
  if (!into || !from) return add(target, run<Tensor>(EspalierEmbeddingGrad, { dy }, { ids, vocabSize } satisfies EmbeddingGradAttrs));
  ids.forEach((id, t) => {
    for (let i = 0; i < width; i++) into[id * width + i] += from[t * width + i];
  });
  return sameData(target);
});

/** `dy [T, D]` without the rows of the padding index. */
function withoutPadding(dy: Tensor, { ids, paddingIndex }: PaddedAttrs): Tensor {
  if (paddingIndex === undefined || !ids.includes(paddingIndex)) return dy;
  return mul(dy, tensor2d(Float32Array.from(ids, (id) => (id === paddingIndex ? 0 : 1)), [ids.length, 1]));
}

fusedGradient<PaddedAttrs>(EspalierEmbedding, {}, ([dy], _saved, attrs) => ({
  weight: Object.assign(() => run<Tensor>(EspalierEmbeddingGrad, { dy: withoutPadding(dy, attrs) }, attrs), { into: (target: Tensor) => run<Tensor>(EspalierEmbeddingGradInto, { target, dy: withoutPadding(dy, attrs) }, attrs) }),
}));
