import { causalAttention, embedding, gelu, layerNorm, linear, linears, residualAdd, rmsNorm, rotary, swiglu, tokenDivergence, tokenOutputs, view } from '../ops';
import { besideFrozen } from '../ops/linears';
import { tensor1d, tensor2d, type Tensor } from '../tfjs';
import * as reference from './references';

/** A fused operation on inputs of given shapes, and the same in float64. */
export interface FusedCase {
  name: string;
  /** Shapes of the differentiable inputs. */
  shapes: readonly (readonly number[])[];
  run(inputs: readonly Tensor[]): Tensor[];
  /** The outputs of `run`, in float64. */
  reference(inputs: readonly Float64Array[]): readonly Float64Array[];
}

const ints = (...values: number[]) => Int32Array.from(values);
const invFreq = Float32Array.of(1, 0.3, 0.05);

function linearCase(name: string, t: number, n: number, k: number, bias: boolean): FusedCase {
  return {
    name,
    shapes: [[t, k], [n, k], ...(bias ? [[n]] : [])],
    run: ([x, w, b]) => [linear(x, w, b)],
    reference: ([x, w, b]) => [reference.linearReference(x, w, b ?? null, t, n, k)],
  };
}

/** Layers of `outputs` each; every other one has a bias. */
function linearsCase(t: number, k: number, outputs: readonly number[]): FusedCase {
  const biased = outputs.map((_, i) => i % 2 === 1);
  const biasOf = (i: number) => 1 + outputs.length + biased.slice(0, i).filter(Boolean).length;
  return {
    name: `linears: ${t} rows, ${k} inputs, ${outputs.join(' and ')} outputs`,
    shapes: [[t, k], ...outputs.map((n) => [n, k]), ...outputs.filter((_, i) => biased[i]).map((n) => [n])],
    run: (inputs) => linears(inputs[0], outputs.map((_, i) => ({ weight: inputs[1 + i], bias: biased[i] ? inputs[biasOf(i)] : undefined }))),
    reference: (inputs) => outputs.map((n, i) => reference.linearReference(inputs[0], inputs[1 + i], biased[i] ? inputs[biasOf(i)] : null, t, n, k)),
  };
}

/** Layers of `outputs` and `ranks` each, with adapters; weights and biases are frozen. */
function adaptedLinearsCase(t: number, k: number, outputs: readonly number[], ranks: readonly number[]): FusedCase {
  const scales = [0.5, -1.5, 2];
  const numbers = (count: number, phase: number) => Float64Array.from({ length: count }, (_, i) => Math.fround(Math.sin(1.7 * i + phase)));
  const frozen = outputs.map((n, i) => ({ w: numbers(n * k, 0.2 + i), bias: numbers(n, 0.9 + i) }));
  return {
    name: `linears with adapters: ${t} rows, ${k} inputs, ${outputs.join(' and ')} outputs, rank ${ranks.join(' and ')}`,
    shapes: [[t, k], ...ranks.map((r) => [r, k]), ...outputs.map((n, i) => [n, ranks[i]])],
    run: ([x, ...matrices]) =>
      besideFrozen(x, outputs.map((n, i) => ({
        weight: tensor2d(Float32Array.from(frozen[i].w), [n, k]),
        bias: tensor1d(Float32Array.from(frozen[i].bias)),
        adapter: { a: matrices[i], b: matrices[outputs.length + i], scale: scales[i] },
      }))),
    reference: ([x, ...matrices]) =>
      outputs.map((n, i) => {
        const h = reference.linearReference(x, matrices[i], null, t, ranks[i], k).map((value) => value * scales[i]);
        const update = reference.linearReference(h, matrices[outputs.length + i], null, t, n, ranks[i]);
        return reference.linearReference(x, frozen[i].w, frozen[i].bias, t, n, k).map((value, j) => value + update[j]);
      }),
  };
}

interface AttentionShape {
  offsets: Int32Array;
  prefixOf: Int32Array;
  heads: number;
  kvHeads: number;
  width: number;
  window?: number;
}

function attentionCase(name: string, { offsets, prefixOf, heads, kvHeads, width, window = 0 }: AttentionShape): FusedCase {
  const t = offsets[offsets.length - 1];
  const scale = width ** -0.5;
  const visible = reference.visibleRows(offsets, prefixOf, window);
  return {
    name: `causalAttention: ${name}`,
    shapes: [[t, heads, width], [t, kvHeads, width], [t, kvHeads, width]],
    run: ([q, k, v]) => [causalAttention(q, k, v, { offsets, prefixOf }, { scale, ...(window > 0 && { window }) })],
    reference: ([q, k, v]) => [reference.attentionReference(q, k, v, heads, kvHeads, width, visible, scale)],
  };
}

function tokenOutputsCase(name: string, temperature: number, needs: readonly ('logps' | 'entropy' | 'sumSquares')[]): FusedCase {
  const targets = ints(3, 0, 10, 3, 7);
  return {
    name: `tokenOutputs: ${name}`,
    shapes: [[5, 4], [11, 4]],
    run: ([hidden, weight]) => {
      const { logps, entropy, sumSquares } = tokenOutputs(hidden, weight, targets, { temperature, needs });
      return [logps, entropy, sumSquares].filter((x) => x !== undefined);
    },
    reference: ([hidden, weight]) => {
      const [logps, entropy, sumSquares] = reference.tokenOutputsReference(hidden, weight, targets, 4, temperature);
      return [logps, ...(needs.includes('entropy') ? [entropy] : []), ...(needs.includes('sumSquares') ? [sumSquares] : [])];
    },
  };
}

function tokenDivergenceCase(beta: number, temperature: number): FusedCase {
  const [rows, vocabSize, d, e] = [5, 11, 4, 6];
  const numbers = (count: number, phase: number) => Float64Array.from({ length: count }, (_, i) => Math.fround(Math.sin(2.3 * i + phase)));
  const [teacherHidden, teacherWeight] = [numbers(rows * e, 0.5), numbers(vocabSize * e, 1.1)];
  return {
    name: `tokenDivergence: beta ${beta}, temperature ${temperature}`,
    shapes: [[rows, d], [vocabSize, d]],
    run: ([hidden, weight]) => [tokenDivergence(hidden, weight, tensor2d(Float32Array.from(teacherHidden), [rows, e]), tensor2d(Float32Array.from(teacherWeight), [vocabSize, e]), { beta, temperature })],
    reference: ([hidden, weight]) => [reference.tokenDivergenceReference(hidden, weight, teacherHidden, teacherWeight, rows, beta, temperature)],
  };
}

/** Every differentiable fused operation, in the shapes where kernels tend to go wrong: odd sizes, groups, prefixes, windows, empty sequences. */
export const fusedCases: readonly FusedCase[] = [
  linearCase('linear', 5, 7, 3, false),
  linearCase('linear with a bias', 4, 3, 6, true),
  linearCase('linear on one row', 1, 19, 17, true),
  linearCase('linear beyond one block', 33, 18, 35, false),
  linearsCase(1, 3, [5, 2]),
  linearsCase(7, 17, [19, 3, 33]),
  linearsCase(33, 18, [35, 35]),
  adaptedLinearsCase(1, 3, [5], [1]),
  adaptedLinearsCase(7, 17, [19, 4], [3, 3]),
  adaptedLinearsCase(33, 18, [35, 18, 18], [16, 2, 5]),
  { name: 'rmsNorm', shapes: [[5, 9], [9]], run: ([x, w]) => [rmsNorm(x, w, 1e-5)], reference: ([x, w]) => [reference.rmsNormReference(x, w, 1e-5)] },
  { name: 'rmsNorm of heads', shapes: [[3, 2, 6], [6]], run: ([x, w]) => [rmsNorm(x, w, 1e-6)], reference: ([x, w]) => [reference.rmsNormReference(x, w, 1e-6)] },
  { name: 'layerNorm', shapes: [[5, 9], [9], [9]], run: ([x, w, b]) => [layerNorm(x, w, b, 1e-5)], reference: ([x, w, b]) => [reference.layerNormReference(x, w, b, 1e-5)] },
  { name: 'swiglu', shapes: [[3, 7], [3, 7]], run: ([gate, up]) => [swiglu(gate, up)], reference: ([gate, up]) => [reference.swigluReference(gate, up)] },
  { name: 'gelu', shapes: [[3, 7]], run: ([x]) => [gelu(x)], reference: ([x]) => [reference.geluReference(x)] },
  { name: 'residualAdd', shapes: [[3, 7], [3, 7]], run: ([a, b]) => [residualAdd(a, b)], reference: ([a, b]) => [a.map((x, i) => x + b[i])] },
  { name: 'residualAdd, scaled', shapes: [[3, 7], [3, 7]], run: ([a, b]) => [residualAdd(a, b, 0.25)], reference: ([a, b]) => [a.map((x, i) => x + 0.25 * b[i])] },
  { name: 'residualAdd of a tensor and itself', shapes: [[3, 7]], run: ([a]) => [residualAdd(a, a)], reference: ([a]) => [a.map((x) => 2 * x)] },
  { name: 'view', shapes: [[3, 8]], run: ([x]) => [view(x, [3, 2, 4])], reference: ([x]) => [x] },
  {
    name: 'embedding with repeated ids',
    shapes: [[6, 3]],
    run: ([table]) => [embedding(table, ints(5, 0, 5, 2))],
    reference: ([table]) => [Float64Array.from([5, 0, 5, 2].flatMap((id) => [...table.subarray(id * 3, id * 3 + 3)]))],
  },
  { name: 'rotary', shapes: [[4, 2, 6]], run: ([x]) => [rotary(x, ints(0, 3, 1, 40), invFreq)], reference: ([x]) => [reference.rotaryReference(x, [4, 2, 6], ints(0, 3, 1, 40), invFreq, 1)] },
  { name: 'rotary, scaled, on part of each head', shapes: [[2, 3, 9]], run: ([x]) => [rotary(x, ints(7, 2), invFreq, 1.2)], reference: ([x]) => [reference.rotaryReference(x, [2, 3, 9], ints(7, 2), invFreq, 1.2)] },
  attentionCase('one sequence', { offsets: ints(0, 6), prefixOf: ints(-1), heads: 2, kvHeads: 2, width: 4 }),
  attentionCase('three ragged sequences, grouped queries', { offsets: ints(0, 3, 4, 9), prefixOf: ints(-1, -1, -1), heads: 6, kvHeads: 2, width: 4 }),
  attentionCase('a shared prefix', { offsets: ints(0, 4, 7, 9, 12), prefixOf: ints(-1, 0, 0, -1), heads: 3, kvHeads: 1, width: 6 }),
  attentionCase('a window', { offsets: ints(0, 7, 10), prefixOf: ints(-1, -1), heads: 2, kvHeads: 1, width: 4, window: 3 }),
  attentionCase('a window that leaves the prefix', { offsets: ints(0, 4, 10, 11), prefixOf: ints(-1, 0, 0), heads: 2, kvHeads: 2, width: 4, window: 4 }),
  attentionCase('empty sequences', { offsets: ints(0, 0, 3, 3, 5), prefixOf: ints(-1, 0, -1, 2), heads: 2, kvHeads: 2, width: 4 }),
  tokenOutputsCase('log-probs', 1, ['logps']),
  tokenOutputsCase('everything, at a temperature', 0.7, ['logps', 'entropy', 'sumSquares']),
  tokenOutputsCase('entropy', 1.5, ['logps', 'entropy']),
  tokenDivergenceCase(0, 1),
  tokenDivergenceCase(0.5, 1),
  tokenDivergenceCase(0.2, 0.7),
  tokenDivergenceCase(1, 1.4),
];
