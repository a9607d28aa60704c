import { EspalierTokenOutputs, EspalierTokenOutputsGrad } from '@espalier/native';
import type { TokenOutputsAttrs, TokenOutputsGradInputs, TokenOutputsInputs } from '@espalier/native';
import { EspalierError } from '@espalier/spec';
import { Variable, add, concat, div, exp, gather, logSumExp, matMul, mul, neg, reshape, slice, square, sub, sum, tensor1d, tensor2d, zeros } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { check, dims, fusedGradient, portableKernel, run, sharedGradients } from './kernel';

export type TokenOutputName = 'logps' | 'entropy' | 'sumSquares';

export interface TokenOutputsOptions {
  /** Logits are divided by it. Default 1; must be above 0. */
  temperature?: number;
  /** Default: `['logps']`. Log-probs are always computed. */
  needs?: readonly TokenOutputName[];
}

/**
 * Language-model head, softmax and what is asked for, in chunks: `[A, V]` is never whole. With `z = hidden weightᵀ / temperature` and
 * `p = softmax(z)`: `logps[a] = log p[targets[a]]`, `entropy = -Σ p log p` (nats), `sumSquares = Σ p²`. Differentiable in `hidden` and `weight`.
 * @param hidden `[A, D]`
 * @param weight `[V, D]`
 * @param targets `[A]` token ids
 * @returns `[A]` each
 * @throws EspalierError `bad_data` for a target outside the vocabulary, `bad_config` for a temperature that is not above 0
 * @example
 * const { logps } = tokenOutputs(hidden, lmHead, targets, { needs: ['logps'] });
 */
export function tokenOutputs(hidden: Tensor, weight: Tensor, targets: Int32Array, options: TokenOutputsOptions = {}): { logps: Tensor; entropy?: Tensor; sumSquares?: Tensor } {
  const { temperature = 1, needs = ['logps'] } = options;
  check(hidden.shape[0] === targets.length && hidden.shape[1] === weight.shape[1], 'tokenOutputs', () => `hidden [${hidden.shape}], weight [${weight.shape}] and ${targets.length} targets do not fit`);
  if (!(temperature > 0)) throw new EspalierError('bad_config', `the temperature of log-probs is ${temperature}`, { fix: 'a number above 0' });
  for (const id of targets) if (id < 0 || id >= weight.shape[0]) throw new EspalierError('bad_data', `token ${id} is outside the vocabulary of ${weight.shape[0]}`);
  const attrs: TokenOutputsAttrs = { targets, temperature, entropy: needs.includes('entropy'), sumSquares: needs.includes('sumSquares'), frozenWeight: weight instanceof Variable && !weight.trainable };
  const [logps, entropy, sumSquares, lse] = run<Tensor[]>(EspalierTokenOutputs, { hidden, weight }, attrs);
  lse.dispose(); // the tape keeps its own
  if (!attrs.entropy) entropy.dispose();
  if (!attrs.sumSquares) sumSquares.dispose();
  return { logps, ...(attrs.entropy && { entropy }), ...(attrs.sumSquares && { sumSquares }) };
}

/** Rows a chunk: its logits take at most 16 MB. */
const chunkRows = (vocabSize: number) => Math.max(1, Math.floor(4_194_304 / vocabSize));

/** `[n, V]`. tfjs's own gives other numbers on the WebAssembly backend when float32 is asked for. */
function oneHot(ids: Int32Array, vocabSize: number): Tensor {
  const values = new Float32Array(ids.length * vocabSize);
  ids.forEach((id, i) => (values[i * vocabSize + id] = 1));
  return tensor2d(values, [ids.length, vocabSize]);
}

interface Chunk {
  start: number;
  n: number;
  hidden: Tensor; // [n, D]
  z: Tensor; // [n, V]
}

function* chunks(hidden: Tensor, weight: Tensor, bias: Tensor | undefined, temperature: number): Generator<Chunk> {
  const size = chunkRows(weight.shape[0]);
  for (let start = 0; start < hidden.shape[0]; start += size) {
    const n = Math.min(size, hidden.shape[0] - start);
    const h = slice(hidden, [start, 0], [n, -1]);
    const logits = matMul(h, weight, false, true);
    yield { start, n, hidden: h, z: div(bias ? add(logits, bias) : logits, temperature) };
  }
}

portableKernel<TokenOutputsInputs, TokenOutputsAttrs>(EspalierTokenOutputs, ({ hidden, weight, bias }, attrs) => {
  const vocabSize = weight.shape[0];
  const parts: Tensor[][] = [[], [], [], []];
  for (const { start, n, z } of chunks(hidden, weight, bias, attrs.temperature)) {
    const lse = logSumExp(z, -1, true); // [n, 1]
    const places = Int32Array.from({ length: n }, (_, i) => i * vocabSize + attrs.targets[start + i]);
    const flat = (x: Tensor) => reshape(x, [n]);
    parts[0].push(sub(gather(reshape(z, [-1]), tensor1d(places, 'int32')), flat(lse)));
    const logP = attrs.entropy || attrs.sumSquares ? sub(z, lse) : undefined;
    const p = logP && exp(logP);
    if (p && attrs.entropy) parts[1].push(neg(sum(mul(p, logP), -1))); // lse - Σ p z would lose the digits that large logits share
    if (p && attrs.sumSquares) parts[2].push(sum(square(p), -1));
    parts[3].push(flat(lse));
    p?.dispose();
    logP?.dispose();
    z.dispose();
  }
  return parts.map((list) => (list.length > 0 ? concat(list, 0) : zeros([0])));
});

portableKernel<TokenOutputsGradInputs, TokenOutputsAttrs>(EspalierTokenOutputsGrad, (inputs, attrs) => {
  const { dLogps, dEntropy, dSumSquares, hidden, weight, bias, entropy, sumSquares, lse } = inputs;
  const vocabSize = weight.shape[0];
  const dHiddens: Tensor[] = [];
  let dWeight: Tensor = attrs.frozenWeight ? zeros([0]) : zeros([vocabSize, dims(hidden)[1]]);
  let dBias: Tensor = zeros([bias ? vocabSize : 0]);
  for (const { start, n, hidden: h, z } of chunks(hidden, weight, bias, attrs.temperature)) {
    const column = (x: Tensor) => reshape(slice(x, [start], [n]), [n, 1]);
    const logp = sub(z, column(lse));
    const p = exp(logp);
    const hot = oneHot(attrs.targets.subarray(start, start + n), vocabSize);
    let dz: Tensor = mul(column(dLogps), sub(hot, p)); // ∂ log p_t / ∂z = 1_t - p
    if (attrs.entropy) dz = sub(dz, mul(column(dEntropy), mul(p, add(logp, column(entropy))))); // ∂H/∂z = -p (log p + H)
    if (attrs.sumSquares) dz = add(dz, mul(column(dSumSquares), mul(2, mul(p, sub(p, column(sumSquares)))))); // ∂Σp²/∂z = 2 p (p - Σp²)
    const dLogits = div(dz, attrs.temperature);
    dHiddens.push(matMul(dLogits, weight));
    if (!attrs.frozenWeight) dWeight = add(dWeight, matMul(dLogits, h, true, false));
    if (bias) dBias = add(dBias, sum(dLogits, 0));
  }
  const dHidden = dHiddens.length > 0 ? concat(dHiddens, 0) : tensor2d([], [0, dims(hidden)[1]]);
  return bias ? [dHidden, dWeight, dBias] : [dHidden, dWeight];
});

fusedGradient<TokenOutputsAttrs>(EspalierTokenOutputs, { inputsToSave: ['hidden', 'weight'], outputsToSave: [false, true, true, true] }, (dys, saved, attrs) => {
  const [dLogps, dEntropy, dSumSquares] = dys;
  const [hidden, weight, entropy, sumSquares, lse] = saved;
  const gradient = sharedGradients(() => run<Tensor[]>(EspalierTokenOutputsGrad, { dLogps, dEntropy, dSumSquares, hidden, weight, entropy, sumSquares, lse }, attrs));
  return { hidden: gradient(0), weight: gradient(1) };
});
