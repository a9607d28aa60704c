import { record } from '../tape';
import { tensor, variable } from '../tfjs';
import { testNumbers } from './check-fused';
import type { FusedCase } from './fused-cases';

const size = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

/**
 * What a fused operation gives on the selected backend: its outputs, and the gradient of each input for outputs weighted by fixed numbers.
 * @example
 * const { outputs, gradients } = fusedResults(fusedCases[0]);
 */
export function fusedResults(fused: FusedCase): { outputs: Float32Array[]; gradients: Float32Array[] } {
  const variables = fused.shapes.map((shape, i) => {
    const initial = tensor(Float32Array.from(testNumbers(size(shape), i)), [...shape]);
    const result = variable(initial);
    initial.dispose();
    return result;
  });
  const tape = record(() => fused.run(variables));
  const outputs = tape.outputs.map((output) => Float32Array.from(output.dataSync()));
  const weights = tape.outputs.map((output, i) => tensor(Float32Array.from(testNumbers(output.size, 100 + i)), output.shape));
  const gradients = fused.shapes.map((shape) => new Float32Array(size(shape)));
  tape.backward(weights, (parameter, gradient) => {
    gradients[variables.indexOf(parameter)].set(gradient.dataSync<'float32'>());
    gradient.dispose();
  });
  for (const used of [...weights, ...variables]) used.dispose();
  return { outputs, gradients };
}
