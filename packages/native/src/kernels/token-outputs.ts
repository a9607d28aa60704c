import { EspalierTokenOutputs, EspalierTokenOutputsGrad } from '../fused-kernels';
import type { TokenOutputsAttrs, TokenOutputsGradInputs, TokenOutputsInputs } from '../fused-kernels';
import { waitingKernel } from './kernel';

/** Floats that may hold logits or their exponentials between the passes: 104 MB, in bf16 all of a micro-batch of 1,024 tokens for a vocabulary of 50,000, in fp32 half of it. What does not fit is computed again, so that memory does not grow with positions times vocabulary. */
const KEPT_FLOATS = 26 << 20;

export const tokenOutputKernels = [
  waitingKernel<TokenOutputsInputs, TokenOutputsAttrs>(EspalierTokenOutputs, ({ inputs: { hidden, weight, bias }, attrs, backend }) => {
    const [a, d] = hidden.shape;
    const v = weight.shape[0];
    const [logps, lse] = [backend.output([a]), backend.output([a])];
    const entropy = backend.output([attrs.entropy ? a : 0]);
    const sumSquares = backend.output([attrs.sumSquares ? a : 0]);
    const kept = backend.output([attrs.keep ? backend.binding.keptLogits(a, v, KEPT_FLOATS, backend.precision) : 0]);
    const w = backend.floats(weight);
    const packed = backend.packed(weight, v, d, backend.precision);
    backend.later.tokenOutputs(
      backend.floats(hidden), w, packed, bias ? backend.floats(bias) : null, attrs.targets, a, v, d, attrs.temperature, backend.precision,
      logps.values, attrs.entropy ? entropy.values : null, attrs.sumSquares ? sumSquares.values : null, lse.values, kept.values.length > 0 ? kept.values : null,
    );
    return [logps.info, entropy.info, sumSquares.info, lse.info, kept.info];
  }),
  waitingKernel<TokenOutputsGradInputs, TokenOutputsAttrs>(EspalierTokenOutputsGrad, ({ inputs, attrs, backend }) => {
    const { hidden, weight, bias } = inputs;
    const [a, d] = hidden.shape;
    const v = weight.shape[0];
    const dHidden = backend.output([a, d]);
    const dWeight = backend.output(attrs.frozenWeight ? [0] : [v, d]);
    const kept = backend.floats(inputs.kept);
    const dBias = bias ? backend.output([v]) : null;
    const w = backend.floats(weight);
    const packed = backend.packed(weight, v, d, backend.precision);
    backend.later.tokenOutputsBackward(
      backend.floats(hidden), w, packed, bias ? backend.floats(bias) : null, attrs.targets, a, v, d, attrs.temperature, backend.precision,
      backend.floats(inputs.lse), attrs.entropy ? backend.floats(inputs.entropy) : null, attrs.sumSquares ? backend.floats(inputs.sumSquares) : null,
      backend.floats(inputs.dLogps), attrs.entropy ? backend.floats(inputs.dEntropy) : null, attrs.sumSquares ? backend.floats(inputs.dSumSquares) : null,
      kept.length > 0 ? kept : null, kept.length > 0 ? backend.floats(inputs.logps) : null,
      dHidden.values, attrs.frozenWeight ? null : dWeight.values, dBias?.values ?? null, false,
    );
    return dBias ? [dHidden.info, dWeight.info, dBias.info] : [dHidden.info, dWeight.info];
  }),
];
