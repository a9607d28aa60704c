import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { adamW, memory, record, tensor, tensor1d, variable, zeros, type Variable } from '@espalier/tensor';
import { useBackend, type BackendSubject } from '@espalier/tensor/checks';
import { parseConfig } from './config';
import { createDecoder, type Decoder } from './decoder';
import { parameterSpecs, toHf } from './decoder-weights';
import { openSafetensors } from './safetensors';
import { fail } from './testing/architecture-checks';
import { cachedLogits, logpsOf, packSequences } from './testing/decoding';

/** What transformers computed for the tiny model that comes with the package: tools/fixtures/make-tiny-checkpoints.py. */
interface Golden {
  inputs: number[][];
  loss: number;
  logps: number[][];
  prompt: number[];
  greedy: number[];
}

/** `fixtures` stands beside `src` and `dist`. */
const file = (name: string): string => fileURLToPath(new URL(`../fixtures/qwen3/${name}`, import.meta.url));
const json = (name: string): unknown => JSON.parse(readFileSync(file(name), 'utf8'));

/** Runs `work` on the tiny model; nothing may be left behind. */
async function onTinyModel(backend: string, work: (decoder: Decoder, golden: Golden) => void): Promise<void> {
  await useBackend(backend);
  const before = memory().numTensors;
  const weights = openSafetensors(file('model.safetensors'));
  const decoder = createDecoder(parseConfig(json('config.json')), weights);
  try {
    work(decoder, json('expected.json') as Golden);
  } finally {
    decoder.dispose();
    weights.close();
  }
  if (memory().numTensors !== before) fail('no tensor left behind once the model is disposed', `${memory().numTensors - before}`, 'Memory grows with every step.');
}

/** Held against the larger of 1 and the largest expected number. */
function compare(what: string, found: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number, why: string): void {
  if (found.length !== expected.length) fail(`${what} to have ${expected.length} numbers`, `${found.length}`, why);
  let scale = 1;
  for (let i = 0; i < expected.length; i++) scale = Math.max(scale, Math.abs(expected[i]));
  for (let i = 0; i < expected.length; i++) if (!(Math.abs(found[i] - expected[i]) <= tolerance * scale)) fail(`${what} [${i}] to be ${expected[i]}`, `${found[i]}`, why);
}

/** Gradients of the mean negative log-prob, and the loss itself. */
function lossAndGradients(decoder: Decoder, { inputs }: Golden): { logps: Float32Array; gradients: Map<Variable, Float32Array> } {
  const tape = record(() => [logpsOf(decoder, packSequences(inputs))]);
  const logps = Float32Array.from(tape.outputs[0].dataSync());
  const outer = tensor1d(new Float32Array(logps.length).fill(-1 / logps.length));
  const gradients = new Map<Variable, Float32Array>();
  tape.backward([outer], (parameter, gradient) => {
    gradients.set(parameter, Float32Array.from(gradient.dataSync()));
    gradient.dispose();
  });
  outer.dispose();
  return { logps, gradients };
}

const nll = (logps: Float32Array) => -logps.reduce((sum, logp) => sum + logp, 0) / logps.length;

const step = { learningRate: 0.05, weightDecay: 0.1, eps: 1e-3 };

/** AdamW's first step from zero moments, in float64: both moments' corrections cancel, and `g / (|g| + eps)` is left. */
const stepped = (value: number, gradient: number): number => value * (1 - step.learningRate * step.weightDecay) - (step.learningRate * gradient) / (Math.abs(gradient) + step.eps);

/**
 * A tiny model with numbers that transformers computed, on a backend: log-probs, gradients, a training step, decoding. They need neither vitest nor a download.
 * @example
 * for (const [name, check] of Object.entries(goldenChecks)) await check({ name: 'cpu', tolerance: 1e-5, precision: 'fp32' });
 */
export const goldenChecks: Readonly<Record<string, (subject: BackendSubject) => Promise<void>>> = {
  'a tiny model: log-probs, as in transformers': ({ name, tolerance }) =>
    onTinyModel(name, (decoder, golden) => compare('log-prob', lossAndGradients(decoder, golden).logps, golden.logps.flat(), 10 * tolerance, 'A model that scores otherwise than where it comes from is another model.')),

  'a tiny model: gradients, as in transformers': ({ name, tolerance }) =>
    onTinyModel(name, (decoder, golden) => {
      const numbers = openSafetensors(file('expected.safetensors'));
      const { gradients } = lossAndGradients(decoder, golden);
      const specs = new Map(parameterSpecs(decoder.config).map((spec) => [spec.name, spec]));
      for (const [parameterName, parameter] of decoder.parameters) {
        const found = gradients.get(parameter);
        if (!found) fail(`a gradient of ${parameterName}`, 'none', 'The parameter would never be trained.');
        compare(`gradient of ${parameterName}`, toHf(specs.get(parameterName)!, found), numbers.read(`grad.${parameterName}`), 10 * tolerance, 'A wrong gradient trains towards something else than the loss that is logged.');
      }
      numbers.close();
    }),

  'a tiny model: a training step, as in float64': ({ name, tolerance }) =>
    onTinyModel(name, (decoder, golden) => {
      const { logps, gradients } = lossAndGradients(decoder, golden);
      compare('loss', [nll(logps)], [golden.loss], 10 * tolerance, 'It is what transformers gives.');
      const params = [...decoder.parameters.values()];
      const before = params.map((parameter) => Float32Array.from(parameter.dataSync()));
      const held = params.map((parameter) => [zeros(parameter.shape), zeros(parameter.shape), tensor(gradients.get(parameter)!, parameter.shape)]);
      const [m, v] = [0, 1].map((i) => held.map((tensors) => variable(tensors[i])));
      adamW({ params, grads: held.map(([, , gradient]) => gradient), m, v, step: 1, ...step });
      params.forEach((parameter, i) => {
        const expected = Float64Array.from(before[i], (value, j) => stepped(value, gradients.get(parameter)![j]));
        compare(`parameter ${i} after a step`, parameter.dataSync(), expected, 10 * tolerance, 'The optimiser makes another step than AdamW.');
      });
      for (const used of [...held.flat(), ...m, ...v]) used.dispose();
      const after = nll(lossAndGradients(decoder, golden).logps);
      if (!(after < golden.loss)) fail(`a loss below ${golden.loss} after a step`, `${after}`, 'Training does not train.');
    }),

  'a tiny model: greedy decoding from a cache, as in transformers': ({ name }) =>
    onTinyModel(name, (decoder, { prompt, greedy }) => {
      const all = [...prompt, ...greedy];
      const rows = cachedLogits(decoder, all.slice(0, 1), [all.slice(1)])[0].slice(prompt.length - 2);
      greedy.forEach((token, i) => {
        const best = rows[i].reduce((top, value, id, row) => (value > row[top] ? id : top), 0);
        if (best !== token) fail(`token ${i} to be ${token}`, `${best}`, 'What is generated differs from the first token on which it does.');
      });
    }),
};
