import { EspalierTokenOutputs, EspalierTokenOutputsGrad } from '@espalier/native';
import type { TokenOutputsAttrs, TokenOutputsGradInputs, TokenOutputsInputs } from '@espalier/native';
import { add, concat, div, exp, gather, logSumExp, matMul, mul, neg, reshape, slice, square, sub, sum, tensor1d, tensor2d, tidy, zeros } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { dims, portableKernel, type KernelInputs } from './kernel';

/** Rows a chunk: its logits take at most 16 MB, of which a few are alive at once. */
const chunkRows = (vocabSize: number) => Math.max(1, Math.floor(4_194_304 / vocabSize));

/** `[n, V]`. tfjs's own gives other numbers on the WebAssembly backend when float32 is asked for. */
function oneHot(ids: Int32Array, vocabSize: number): Tensor {
  const values = new Float32Array(ids.length * vocabSize);
  ids.forEach((id, i) => (values[i * vocabSize + id] = 1));
  return tensor2d(values, [ids.length, vocabSize]);
}

export interface Chunk {
  start: number;
  n: number;
  hidden: Tensor; // [n, D]
  z: Tensor; // [n, V]
  targets: Int32Array; // [n]
}

/** Runs `work` on one chunk after another, each in a `tidy` of its own: what it leaves behind goes before the next one comes. `then` may take from what was made. */
function eachChunk(hidden: Tensor, weight: Tensor, bias: Tensor | undefined, attrs: TokenOutputsAttrs, work: (chunk: Chunk) => Tensor[], then: (made: Tensor[]) => void = () => {}): Tensor[][] {
  const size = chunkRows(weight.shape[0]);
  const results: Tensor[][] = [];
  for (let start = 0; start < hidden.shape[0]; start += size) {
    const n = Math.min(size, hidden.shape[0] - start);
    const made = tidy(() => {
      const h = slice(hidden, [start, 0], [n, -1]);
      const logits = matMul(h, weight, false, true);
      const biased = bias ? add(logits, bias) : logits;
      return work({ start, n, hidden: h, z: attrs.temperature === 1 ? biased : div(biased, attrs.temperature), targets: attrs.targets.subarray(start, start + n) });
    });
    then(made);
    results.push(made);
  }
  return results;
}

/** The rows of an output, one chunk's under another's. */
const stacked = (parts: readonly Tensor[]): Tensor => (parts.length > 0 ? concat([...parts], 0) : zeros([0]));

/** What backends do in different ways: the logarithm of the softmax at the targets, and its derivative. */
export interface CrossEntropy {
  /** Log-probs of the targets and the rows' log-sum-exps, `[n]` each. */
  logps(chunk: Chunk): { logps: Tensor; lse: Tensor };
  /** `dLogps · (1_t - p)`, the derivative with respect to the logits. `dLogps` is `[n, 1]`; `p` gives the softmax. → `[n, V]` */
  gradient(chunk: Chunk, dLogps: Tensor, p: () => Tensor): Tensor;
}

/** Logits of the targets, `[n]`. */
export function targetLogits({ z, targets, n }: Chunk): Tensor {
  const vocabSize = dims(z)[1];
  return reshape(gather(reshape(z, [-1]), tensor1d(targets.map((id, i) => i * vocabSize + id), 'int32')), [n]);
}

const portableCrossEntropy: CrossEntropy = {
  logps(chunk) {
    const lse = logSumExp(chunk.z, -1);
    return { logps: sub(targetLogits(chunk), lse), lse };
  },
  gradient: ({ z, targets }, dLogps, p) => mul(dLogps, sub(oneHot(targets, dims(z)[1]), p())),
};

/** The forward kernel over some way to compute the cross-entropy. */
export function tokenOutputsWith(crossEntropy: CrossEntropy) {
  return ({ hidden, weight, bias }: KernelInputs<TokenOutputsInputs>, attrs: TokenOutputsAttrs): Tensor[] => {
    const chunks = eachChunk(hidden, weight, bias, attrs, (chunk) => {
      const { logps, lse } = crossEntropy.logps(chunk);
      if (!attrs.entropy && !attrs.sumSquares) return [logps, lse];
      const logP = sub(chunk.z, reshape(lse, [chunk.n, 1]));
      const p = exp(logP);
      return [logps, lse, neg(sum(mul(p, logP), -1)), sum(square(p), -1)]; // lse - Σ p z would lose the digits that large logits share
    });
    const [logps, lse, entropy, sumSquares] = [0, 1, 2, 3].map((i) => (wanted: boolean) => stacked(wanted ? chunks.map((parts) => parts[i]) : []));
    return [logps(true), entropy(attrs.entropy), sumSquares(attrs.sumSquares), lse(true), zeros([0])];
  };
}

/** The backward kernel over some way to compute the cross-entropy. */
export function tokenOutputsGradWith(crossEntropy: CrossEntropy) {
  return (inputs: KernelInputs<TokenOutputsGradInputs>, attrs: TokenOutputsAttrs): Tensor[] => {
    const { dLogps, dEntropy, dSumSquares, hidden, weight, bias, entropy, sumSquares, lse } = inputs;
    const [vocabSize, width] = dims(weight);
    let totals: Tensor[] = [];
    const work = (chunk: Chunk): Tensor[] => {
      const { start, n, z } = chunk;
      const column = (x: Tensor) => reshape(slice(x, [start], [n]), [n, 1]);
      const logp = attrs.entropy || attrs.sumSquares ? sub(z, column(lse)) : undefined;
      const p = logp && exp(logp);
      let dz = crossEntropy.gradient(chunk, column(dLogps), () => p ?? exp(sub(z, column(lse))));
      if (logp && p && attrs.entropy) dz = sub(dz, mul(column(dEntropy), mul(p, add(logp, column(entropy))))); // ∂H/∂z = -p (log p + H)
      if (p && attrs.sumSquares) dz = add(dz, mul(column(dSumSquares), mul(2, mul(p, sub(p, column(sumSquares)))))); // ∂Σp²/∂z = 2 p (p - Σp²)
      const dLogits = attrs.temperature === 1 ? dz : div(dz, attrs.temperature);
      return [matMul(dLogits, weight), ...(attrs.frozenWeight ? [] : [matMul(dLogits, chunk.hidden, true, false)]), ...(bias ? [sum(dLogits, 0)] : [])];
    };
    const dHiddens = eachChunk(hidden, weight, bias, attrs, work, (parts) => (totals = totals.length > 0 ? summed(totals, parts.splice(1)) : parts.splice(1)));
    const dHidden = dHiddens.length > 0 ? stacked(dHiddens.map(([part]) => part)) : tensor2d([], [0, width]);
    const dWeight = attrs.frozenWeight ? zeros([0]) : (totals.shift() ?? zeros([vocabSize, width]));
    return bias ? [dHidden, dWeight, totals.shift() ?? zeros([vocabSize])] : [dHidden, dWeight];
  };
}

/** The sums of two lists, which it takes over. */
function summed(totals: readonly Tensor[], parts: readonly Tensor[]): Tensor[] {
  return totals.map((total, i) => {
    const sum = add(total, parts[i]);
    total.dispose();
    parts[i].dispose();
    return sum;
  });
}

portableKernel<TokenOutputsInputs, TokenOutputsAttrs>(EspalierTokenOutputs, tokenOutputsWith(portableCrossEntropy));
portableKernel<TokenOutputsGradInputs, TokenOutputsAttrs>(EspalierTokenOutputsGrad, tokenOutputsGradWith(portableCrossEntropy));
