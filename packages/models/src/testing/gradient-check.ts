import { record, tensor, tensor1d, tidy, type Variable } from '@espalier/tensor';
import type { Decoder } from '../decoder';
import { fail } from './architecture-checks';
import { logpsOf, type Packed } from './decoding';

/** Weights of the log-probs in the loss: different ones, so that errors do not cancel. */
const weight = (a: number) => 0.3 + ((a * 5) % 7) / 7;

/** Compares a few derivatives of every parameter with central differences of the loss. Numbers are fp32: differences are good to about a hundredth. */
export function checkGradients(decoder: Decoder, batch: Packed, tolerance: number): void {
  const loss = () => {
    const logps = tidy(() => logpsOf(decoder, batch));
    const total = logps.dataSync<'float32'>().reduce((sum, logp, a) => sum + weight(a) * logp, 0);
    logps.dispose();
    return total;
  };
  const names = new Map([...decoder.trainable].map(([name, parameter]) => [parameter, name]));
  const gradients = new Map<Variable, Float32Array>();
  const tape = record(() => [logpsOf(decoder, batch)]);
  const outer = tensor1d(Float32Array.from({ length: tape.outputs[0].size }, (_, a) => weight(a)));
  tape.backward([outer], (parameter, gradient) => {
    gradients.set(parameter, Float32Array.from(gradient.dataSync()));
    gradient.dispose();
  });
  outer.dispose();
  for (const [parameter, name] of names) {
    const gradient = gradients.get(parameter);
    if (!gradient) fail(`a gradient of ${name}`, 'none', 'The parameter would never be trained.');
    const scale = gradient.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const largest = gradient.findIndex((value) => Math.abs(value) === scale);
    for (const i of new Set([largest, Math.floor(gradient.length / 3), gradient.length - 1])) {
      // Where all derivatives are tiny, differences are rounding: 1e-3 nats a unit of weight is what fp32 sees.
      const allowed = tolerance * Math.max(scale, 0.05);
      let slope = NaN;
      for (const step of [2 ** -5, 2 ** -7, 2 ** -9]) {
        slope = slopeOf(parameter, i, loss, step); // a steep place wants a small step, a flat one a large step
        if (Math.abs(gradient[i] - slope) <= allowed) break;
      }
      if (!(Math.abs(gradient[i] - slope) <= allowed)) fail(`d loss / d ${name}[${i}] to be about ${slope}, as finite differences say`, `${gradient[i]}`, 'A wrong gradient trains towards something else than the loss that is logged.');
    }
  }
}

/** The derivative with respect to one number of a parameter, by central differences with Richardson's extrapolation. */
function slopeOf(parameter: Variable, i: number, loss: () => number, step: number): number {
  const values = Float32Array.from(parameter.dataSync());
  const at = (h: number) => {
    const moved = values.slice();
    moved[i] += h;
    assign(parameter, moved);
    return { value: loss(), point: moved[i] };
  };
  const central = (h: number) => {
    const [above, below] = [at(h), at(-h)];
    return (above.value - below.value) / (above.point - below.point);
  };
  const slope = (4 * central(step / 2) - central(step)) / 3;
  assign(parameter, values);
  return slope;
}

function assign(parameter: Variable, values: Float32Array): void {
  const next = tensor(values, parameter.shape);
  parameter.assign(next);
  next.dispose();
}
