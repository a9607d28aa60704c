import { EspalierSwiglu, EspalierSwigluGrad } from '@espalier/native';
import type { SwigluGradInputs, SwigluInputs } from '@espalier/native';
import { add, mul, sigmoid, sub } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { check, fusedGradient, portableKernel, run, sharedGradients } from './kernel';

/** `silu(gate) * up` (Shazeer 2020); both of one shape. */
export function swiglu(gate: Tensor, up: Tensor): Tensor {
  check(gate.shape.join() === up.shape.join(), 'swiglu', () => `gate [${gate.shape}] and up [${up.shape}] differ`);
  return run(EspalierSwiglu, { gate, up });
}

portableKernel<SwigluInputs>(EspalierSwiglu, ({ gate, up }) => mul(mul(gate, sigmoid(gate)), up));

portableKernel<SwigluGradInputs>(EspalierSwigluGrad, ({ dy, gate, up }) => {
  const s = sigmoid(gate);
  const silu = mul(gate, s);
  // silu' = s + silu (1 - s)
  return [mul(mul(dy, up), add(s, mul(silu, sub(1, s)))), mul(dy, silu)];
});

fusedGradient(EspalierSwiglu, { inputsToSave: ['gate', 'up'] }, ([dy], [gate, up]) => {
  const gradient = sharedGradients(() => run<Tensor[]>(EspalierSwigluGrad, { dy, gate, up }));
  return { gate: gradient(0), up: gradient(1) };
});
