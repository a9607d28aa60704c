import { add, mul } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { check, fusedGradient, portableKernel, run, sameData } from './kernel';

const EspalierResidualAdd = 'EspalierResidualAdd'; // a + b; `native` has its own
const EspalierScaledAdd = 'EspalierScaledAdd'; // a + scale * b

interface ScaledAddAttrs {
  scale: number;
}

/**
 * `a + scale * b` of one shape: residual connections and adapters. Unlike tfjs's `add` and `mul`, whose gradients keep both operands alive to know
 * their shapes, this keeps nothing.
 */
export function residualAdd(a: Tensor, b: Tensor, scale = 1): Tensor {
  check(a.shape.join() === b.shape.join(), 'residualAdd', () => `[${a.shape}] and [${b.shape}] differ`);
  return scale === 1 ? run(EspalierResidualAdd, { a, b }) : run(EspalierScaledAdd, { a, b }, { scale } satisfies ScaledAddAttrs);
}

portableKernel<{ a: unknown; b: unknown }>(EspalierResidualAdd, ({ a, b }) => add(a, b));
portableKernel<{ a: unknown; b: unknown }, ScaledAddAttrs>(EspalierScaledAdd, ({ a, b }, { scale }) => add(a, mul(b, scale)));

fusedGradient(EspalierResidualAdd, {}, ([dy]) => ({ a: () => sameData(dy), b: () => sameData(dy) }));
fusedGradient<ScaledAddAttrs>(EspalierScaledAdd, {}, ([dy], _saved, { scale }) => ({ a: () => sameData(dy), b: () => mul(dy, scale) }));
