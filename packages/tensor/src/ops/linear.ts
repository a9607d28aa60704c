import { EspalierLinear, EspalierLinearGradBias, EspalierLinearsGrad, EspalierLinearsGradX } from '@espalier/native';
import type { LinearGradBiasInputs, LinearInputs } from '@espalier/native';
import { Variable, add, matMul, sum } from '@tensorflow/tfjs-core';
import type { Tensor, Tensor2D } from '@tensorflow/tfjs-core';
import { check, fusedGradient, portableKernel, run, runKnown, sharedGradients } from './kernel';

/**
 * `y = x wᵀ + bias`: the weight is stored as PyTorch stores it, one row an output.
 * @param x `[T, K]`
 * @param w `[N, K]`
 * @param bias `[N]`
 * @param known what it gives, where that is known: it is then recorded, and not computed
 * @returns `[T, N]`
 */
export function linear(x: Tensor, w: Tensor, bias?: Tensor, known?: Tensor): Tensor {
  check(x.rank === 2 && w.rank === 2 && x.shape[1] === w.shape[1], 'linear', () => `x [${x.shape}] and w [${w.shape}] do not share their last dimension`);
  const name = isFrozen(w) && (!bias || isFrozen(bias)) ? EspalierFrozenLinear : EspalierLinear;
  return known ? runKnown(name, { x, w, bias }, {}, [known])[0] : run(name, { x, w, bias });
}

/** Whether a parameter is not trained. */
export const isFrozen = (parameter: Tensor) => parameter instanceof Variable && !parameter.trainable;

/** The same where nothing of the layer is trained: its input need not be kept for the backward pass. */
const EspalierFrozenLinear = 'EspalierFrozenLinear';

portableKernel<LinearInputs>(EspalierFrozenLinear, (inputs) => run(EspalierLinear, inputs));
fusedGradient(EspalierFrozenLinear, { inputsToSave: ['w'] }, ([dy], [w]) => ({ x: () => run(EspalierLinearsGradX, { dy0: dy, w0: w }) }));

portableKernel<LinearInputs>(EspalierLinear, ({ x, w, bias }) => {
  const y = matMul(x as Tensor2D, w as Tensor2D, false, true);
  return bias ? add(y, bias) : y;
});
portableKernel<LinearGradBiasInputs>(EspalierLinearGradBias, ({ dy }) => sum(dy, 0));

fusedGradient(EspalierLinear, { inputsToSave: ['x', 'w'] }, ([dy], [x, w]) => {
  const gradient = sharedGradients(() => run<Tensor[]>(EspalierLinearsGrad, { x, dy0: dy, w0: w }));
  return { x: gradient(0), w: gradient(1), bias: () => run(EspalierLinearGradBias, { dy }) };
});
