import { add, engine, getKernel, mul, tidy } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { check, directKernel, fusedGradient, portableKernel, run } from './kernel';

const EspalierResidualAdd = 'EspalierResidualAdd';

interface ResidualAddAttrs {
  scale: number;
}

/**
 * `a + scale * b` of one shape: residual connections and adapters. Unlike tfjs's `add` and `mul`, whose gradients keep both operands alive to know
 * their shapes, this keeps nothing.
 */
export function residualAdd(a: Tensor, b: Tensor, scale = 1): Tensor {
  check(a.shape.join() === b.shape.join(), 'residualAdd', () => `[${a.shape}] and [${b.shape}] differ`);
  return run(EspalierResidualAdd, { a, b }, { scale } satisfies ResidualAddAttrs);
}

const scaled = (x: Tensor, scale: number) => (scale === 1 ? x.clone() : mul(x, scale));

portableKernel<{ a: unknown; b: unknown }, ResidualAddAttrs>(EspalierResidualAdd, ({ a, b }, { scale }) => add(a, scaled(b, scale)));

directKernel(EspalierResidualAdd, (call) => {
  const { scale } = call.attrs as unknown as ResidualAddAttrs;
  if (scale === 1) return getKernel('Add', engine().backendName).kernelFunc({ ...call, attrs: {} });
  return tidy(() => add(call.inputs.a as Tensor, scaled(call.inputs.b as Tensor, scale)));
});

fusedGradient<ResidualAddAttrs>(EspalierResidualAdd, {}, ([dy], _saved, { scale }) => ({ a: () => dy.clone(), b: () => scaled(dy, scale) }));
