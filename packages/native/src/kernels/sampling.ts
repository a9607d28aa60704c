import { EspalierSampleTokens } from '../fused-kernels';
import type { SampleTokensAttrs, SampleTokensInputs } from '../fused-kernels';
import { waitingKernel } from './kernel';

export const samplingKernels = [
  waitingKernel<SampleTokensInputs, SampleTokensAttrs>(EspalierSampleTokens, ({ inputs: { logits }, attrs, backend }) => {
    const [rows, vocab] = logits.shape;
    const tokens = new Int32Array(rows);
    const logps = backend.output([rows]);
    backend.later.sampleTokens(
      backend.floats(logits), vocab, attrs.seeds, attrs.samples, attrs.positions, attrs.temperature, attrs.topK, attrs.topP, attrs.minP,
      attrs.repetitionPenalty, attrs.history, attrs.historyOffsets, tokens, logps.values,
    );
    return [backend.makeTensorInfo([rows], 'int32', tokens), logps.info];
  }),
];
