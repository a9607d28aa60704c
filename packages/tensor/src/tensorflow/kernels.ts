/**
 * Fused kernels that TensorFlow's own operations serve better than the portable version: less memory, fewer calls. They are registered for `tensorflow` alone; whether
 * its package is here shows when the backend is chosen.
 */
import { EspalierLinear, EspalierLinearGradBias, EspalierSquaredNorm, EspalierTokenOutputs, EspalierTokenOutputsGrad } from '@espalier/native';
import type { LinearGradBiasInputs, LinearInputs, TokenOutputsAttrs, TokenOutputsGradInputs, TokenOutputsInputs } from '@espalier/native';
import { addN, matMul, mul, neg, sub, tensor1d } from '@tensorflow/tfjs-core';
import type { Tensor, Tensor2D } from '@tensorflow/tfjs-core';
import '../ops';
import { tensorflowKernel } from '../ops/kernel';
import { targetLogits, tokenOutputsGradWith, tokenOutputsWith, type Chunk, type CrossEntropy } from '../ops/token-outputs-kernels';
import { runOperation } from './operation';

/** `-log softmax(z)[target]`, `[n]`, and its derivative with respect to `z`, `[n, V]`: no one-hot rows are made. */
const sparseCrossEntropy = ({ z, targets }: Chunk) => runOperation('SparseSoftmaxCrossEntropyWithLogits', [z, tensor1d(targets, 'int32')], { T: 'float32', Tlabels: 'int32' }, 2);

const crossEntropy: CrossEntropy = {
  logps(chunk) {
    const logps = neg(sparseCrossEntropy(chunk)[0]);
    return { logps, lse: sub(targetLogits(chunk), logps) };
  },
  gradient: (chunk, dLogps) => mul(neg(dLogps), sparseCrossEntropy(chunk)[1]),
};

const operation = ['SparseSoftmaxCrossEntropyWithLogits'];
tensorflowKernel<TokenOutputsInputs, TokenOutputsAttrs>(EspalierTokenOutputs, operation, tokenOutputsWith(crossEntropy));
tensorflowKernel<TokenOutputsGradInputs, TokenOutputsAttrs>(EspalierTokenOutputsGrad, operation, tokenOutputsGradWith(crossEntropy));

// Σ x² / 2, without the squares
tensorflowKernel<Record<string, Tensor>>(EspalierSquaredNorm, ['L2Loss'], (tensors) => mul(addN(Object.values(tensors).map((x) => runOperation('L2Loss', [x], { T: 'float32' })[0])), 2));

tensorflowKernel<LinearInputs>(EspalierLinear, ['BiasAdd'], ({ x, w, bias }) => {
  const y = matMul(x as Tensor2D, w as Tensor2D, false, true);
  return bias ? runOperation('BiasAdd', [y, bias], { T: 'float32' })[0] : y;
});
tensorflowKernel<LinearGradBiasInputs>(EspalierLinearGradBias, ['BiasAddGrad'], ({ dy }) => runOperation('BiasAddGrad', [dy], { T: 'float32' })[0]);
