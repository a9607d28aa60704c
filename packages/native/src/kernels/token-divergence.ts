import { EspalierTokenDivergence, EspalierTokenDivergenceGrad } from '../fused-kernels';
import type { TokenDivergenceAttrs, TokenDivergenceGradInputs, TokenDivergenceInputs } from '../fused-kernels';
import type { NativeBackend } from '../backend';
import { waitingKernel } from './kernel';

/** The two heads as the binding takes them: numbers, packed weights, sizes. */
function heads({ hidden, weight, teacherHidden, teacherWeight }: TokenDivergenceInputs, backend: NativeBackend) {
  const [a, d] = hidden.shape;
  const e = teacherHidden.shape[1];
  const v = weight.shape[0];
  return {
    a, d, v,
    arrays: [
      backend.floats(hidden), backend.floats(weight), backend.packed(weight, v, d, backend.precision), backend.floats(teacherHidden), backend.floats(teacherWeight), backend.packed(teacherWeight, v, e, backend.precision), a, v, d, e,
    ] as const,
  };
}

export const tokenDivergenceKernels = [
  waitingKernel<TokenDivergenceInputs, TokenDivergenceAttrs>(EspalierTokenDivergence, ({ inputs, attrs: { beta, temperature }, backend }) => {
    const { a, arrays } = heads(inputs, backend);
    const [divergence, lse, teacherLse, studentKl] = [backend.output([a]), backend.output([a]), backend.output([a]), backend.output([a])];
    backend.later.tokenDivergence(...arrays, beta, temperature, backend.precision, divergence.values, lse.values, teacherLse.values, studentKl.values);
    return [divergence.info, lse.info, teacherLse.info, studentKl.info];
  }),
  waitingKernel<TokenDivergenceGradInputs, TokenDivergenceAttrs>(EspalierTokenDivergenceGrad, ({ inputs, attrs: { beta, temperature }, backend }) => {
    const { a, d, v, arrays } = heads(inputs, backend);
    const { lse, teacherLse, studentKl, dDivergence } = inputs;
    const [dHidden, dWeight] = [backend.output([a, d]), backend.output([v, d])];
    backend.later.tokenDivergenceBackward(
      ...arrays, beta, temperature, backend.precision,
      backend.floats(lse), backend.floats(teacherLse), backend.floats(studentKl), backend.floats(dDivergence), dHidden.values, dWeight.values,
    );
    return [dHidden.info, dWeight.info];
  }),
];
