import { adamW, addInPlace, cacheWrite, cachedAttention, globalNorm, sampleTokens, type SampleRow } from '../ops';
import { tensor, tensor2d, variable, zeros, type Tensor } from '../tfjs';
import { testNumbers } from './check-fused';

/** An operation without a gradient: what it gives on the selected backend. */
export interface InferenceCase {
  name: string;
  run(): { [output: string]: Float32Array | Int32Array };
}

const size = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
const make = (seed: number, shape: number[]) => tensor(Float32Array.from(testNumbers(size(shape), seed)), shape);
const numbers = (x: Tensor) => Float32Array.from(x.dataSync());
const ints = (...values: number[]) => Int32Array.from(values);

function attentionCase(name: string, window: number): InferenceCase {
  return {
    name: `cacheWrite and cachedAttention: ${name}`,
    run() {
      const [capacity, heads, kvHeads, width] = [12, 6, 2, 4];
      const filled = [1, 2].map((seed) => {
        const empty = zeros([capacity, kvHeads * width]);
        const values = make(seed, [capacity, kvHeads, width]);
        const cache = cacheWrite(empty, values, ints(3, 0, 1, 2, 11, 10, 9, 4, 5, 6, 7, 8));
        values.dispose();
        empty.dispose();
        return cache;
      });
      const q = make(3, [3, heads, width]);
      // a shared prefix of four rows, then rows of its own; a prefix alone is one row
      const out = cachedAttention(q, filled[0], filled[1], ints(0, 4, 4, 3, 0, 4, 8, 1, 0, 0, 9, 3), { scale: width ** -0.5, ...(window > 0 && { window }) });
      const result = { keys: numbers(filled[0]), attention: numbers(out) };
      for (const used of [...filled, q, out]) used.dispose();
      return result;
    },
  };
}

/** The operations of decoding and of the optimiser, which {@link fusedCases} has not: a backend is compared with the portable kernels. */
export const inferenceCases: readonly InferenceCase[] = [
  attentionCase('shared prefixes, grouped queries', 0),
  attentionCase('a window', 3),
  {
    name: 'adamW, three steps',
    run() {
      const shape = [5, 7];
      const held = [1, 2, 3].map((seed) => {
        const initial = seed === 1 ? make(seed, shape) : zeros(shape);
        const result = variable(initial);
        initial.dispose();
        return result;
      });
      const grad = make(4, shape);
      for (let step = 1; step <= 3; step++) adamW({ params: [held[0]], grads: [grad], m: [held[1]], v: [held[2]], learningRate: 0.01, weightDecay: 0.1, step, gradScale: 0.5 });
      const result = { parameter: numbers(held[0]), first: numbers(held[1]), second: numbers(held[2]) };
      for (const used of [...held, grad]) used.dispose();
      return result;
    },
  },
  {
    name: 'addInPlace and globalNorm',
    run() {
      const [target, value] = [make(1, [3, 9]), make(2, [3, 9])];
      const sum = addInPlace(target, value, -0.4);
      target.dispose();
      const result = { sum: numbers(sum), norm: Float32Array.of(globalNorm([sum, value])) };
      for (const used of [sum, value]) used.dispose();
      return result;
    },
  },
  {
    name: 'sampleTokens with every filter',
    run() {
      const [rows, vocab] = [24, 37];
      const logits = tensor2d(Float32Array.from(testNumbers(rows * vocab, 7), (x) => Math.round(x * 16) / 8), [rows, vocab]);
      const pick = <T>(i: number, ...values: T[]) => values[i % values.length];
      const settings = Array.from({ length: rows }, (_, i): SampleRow => ({
        seed: 1234567 * (i + 1), sample: i % 4, position: 3 * i, temperature: pick(i, 1, 0, 0.5, 1.5), topK: pick(i, 0, 5, 0, 1, 12), topP: pick(i, 1, 0.9, 0.5), minP: pick(i, 0, 0, 0.05),
        repetitionPenalty: pick(i, 1, 1.3), history: ints(i % vocab, (i * 7) % vocab),
      }));
      const drawn = sampleTokens(logits, settings);
      logits.dispose();
      return { tokens: drawn.tokens, logps: drawn.logps };
    },
  },
];
