import { EspalierGelu, EspalierGeluGrad } from '@espalier/native';
import type { GeluGradInputs, GeluInputs } from '@espalier/native';
import { add, mul, square, sub, tanh } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { fusedGradient, portableKernel, run } from './kernel';

/** `0.5 x (1 + tanh(sqrt(2/π) (x + 0.044715 x³)))`: what transformers calls `gelu_new` (Hendrycks & Gimpel 2016). */
export function gelu(x: Tensor): Tensor {
  return run(EspalierGelu, { x });
}

const c = Math.sqrt(2 / Math.PI);
const k = 0.044715;
const inner = (x: Tensor) => tanh(mul(c, mul(x, add(1, mul(k, square(x))))));

portableKernel<GeluInputs>(EspalierGelu, ({ x }) => mul(mul(0.5, x), add(1, inner(x))));

portableKernel<GeluGradInputs>(EspalierGeluGrad, ({ dy, x }) => {
  const t = inner(x);
  // y' = 0.5 (1 + t) + 0.5 x (1 - t²) c (1 + 3 k x²)
  const slope = mul(mul(x, sub(1, square(t))), mul(c, add(1, mul(3 * k, square(x)))));
  return mul(dy, mul(0.5, add(add(1, t), slope)));
});

fusedGradient(EspalierGelu, { inputsToSave: ['x'] }, ([dy], [x]) => ({ x: () => run(EspalierGeluGrad, { dy, x }) }));
