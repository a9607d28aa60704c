import { EspalierError } from '@espalier/spec';
import { record } from '../tape';
import { memory, tensor, variable } from '../tfjs';
import type { FusedCase } from './fused-cases';

/** Numbers in about ±1.5, a function of the seed. */
export function testNumbers(count: number, seed: number): Float64Array {
  let state = (Math.imul(seed + 1, 0x9e3779b1) ^ 0x5bd1e995) >>> 0;
  return Float64Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.fround((state / 2 ** 32 - 0.5) * 3);
  });
}

const count = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

/**
 * Runs one fused operation on the selected backend and compares it with float64: its outputs with the reference, its gradients with central differences
 * of the reference. Also checks that no tensor is left behind.
 * @param tolerance largest error relative to the largest expected number of a tensor. Default 1e-5; a bf16 backend wants 2e-2
 * @throws EspalierError `internal` that names the case, the tensor and the numbers
 * @example
 * for (const fused of fusedCases) it(fused.name, () => checkFusedCase(fused));
 */
export function checkFusedCase(fused: FusedCase, tolerance = 1e-5): void {
  const before = memory().numTensors;
  const inputs = fused.shapes.map((shape, i) => testNumbers(count(shape), i));
  const variables = inputs.map((values, i) => {
    const initial = tensor(Float32Array.from(values), [...fused.shapes[i]]);
    const result = variable(initial);
    initial.dispose();
    return result;
  });
  const tape = record(() => fused.run(variables));
  const expected = fused.reference(inputs);
  if (tape.outputs.length !== expected.length) fail(fused, `gives ${tape.outputs.length} outputs, not ${expected.length}`);
  tape.outputs.forEach((output, i) => compare(fused, `output ${i}`, output.dataSync(), expected[i], tolerance));

  const weights = expected.map((values, i) => testNumbers(values.length, 100 + i));
  const loss = (at: readonly Float64Array[]) => fused.reference(at).reduce((total, values, i) => total + values.reduce((sum, value, j) => sum + value * weights[i][j], 0), 0);
  const gradients = weights.map((values, i) => tensor(Float32Array.from(values), tape.outputs[i].shape));
  const missing = new Set(variables);
  tape.backward(gradients, (parameter, gradient) => {
    missing.delete(parameter);
    const i = variables.indexOf(parameter);
    compare(fused, `gradient of input ${i}`, gradient.dataSync(), differences(loss, inputs, i), tolerance);
    gradient.dispose();
  });
  if (missing.size > 0) fail(fused, `gives no gradient for ${missing.size} of its inputs`);
  for (const used of [...gradients, ...variables]) used.dispose();
  if (memory().numTensors !== before) fail(fused, `leaves ${memory().numTensors - before} tensors behind`);
}

/** Central differences in float64: exact to about 1e-9. */
function differences(loss: (at: readonly Float64Array[]) => number, inputs: readonly Float64Array[], i: number): Float64Array {
  const h = 1e-5;
  const at = inputs.map((values) => Float64Array.from(values));
  return inputs[i].map((value, j) => {
    at[i][j] = value + h;
    const above = loss(at);
    at[i][j] = value - h;
    const below = loss(at);
    at[i][j] = value;
    return (above - below) / (2 * h);
  });
}

function compare(fused: FusedCase, what: string, actual: ArrayLike<number>, expected: Float64Array, tolerance: number): void {
  if (actual.length !== expected.length) fail(fused, `${what} has ${actual.length} numbers, not ${expected.length}`);
  const scale = expected.reduce((largest, value) => Math.max(largest, Math.abs(value)), 1);
  for (let i = 0; i < expected.length; i++) {
    if (!(Math.abs(actual[i] - expected[i]) <= tolerance * scale)) fail(fused, `${what} [${i}] is ${actual[i]}, not ${expected[i]}`);
  }
}

function fail(fused: FusedCase, what: string): never {
  throw new EspalierError('internal', `${fused.name} ${what}`);
}
