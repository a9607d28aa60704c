/** Standard kernels that tfjs's WebAssembly backend lacks and training needs. */
import { registerKernel, reshape, scatterND, tidy, UnsortedSegmentSum } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';

/** The gradient of `gather`: rows `x [N, ...]` added up by id → `[numSegments, ...]`. `scatterND` adds where ids repeat. */
registerKernel({
  kernelName: UnsortedSegmentSum,
  backendName: 'wasm',
  kernelFunc: ({ inputs, attrs }) => {
    const [x, ids] = [inputs.x as Tensor, inputs.segmentIds as Tensor];
    return tidy(() => scatterND(reshape(ids, [ids.size, 1]), x, [attrs!.numSegments as number, ...x.shape.slice(1)]));
  },
});
