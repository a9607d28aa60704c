import { EspalierTokenDivergence, EspalierTokenDivergenceGrad } from '@espalier/native';
import type { TokenDivergenceAttrs, TokenDivergenceGradInputs, TokenDivergenceInputs } from '@espalier/native';
import { EspalierError } from '@espalier/spec';
import { abs, add, concat, div, exp, logSumExp, matMul, maximum, mul, neg, reshape, slice, softplus, sub, sum, tensor2d, tidy, zeros, zerosLike } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { check, dims, fusedGradient, portableKernel, run, sharedGradients } from './kernel';

export interface TokenDivergenceOptions {
  /** From 0 (forward KL, teacher ‖ student) to 1 (reverse KL, student ‖ teacher). Default 0.5. */
  beta?: number;
  /** Both heads' logits are divided by it. Default 1; must be above 0. */
  temperature?: number;
}

/**
 * The generalised Jensen-Shannon divergence (2306.13649, eq. 1, weights as in TRL) between the next-token distributions of two heads, position by position, in
 * chunks: `[A, V]` is never whole. With `p` the student's softmax, `q` the teacher's and `m = (1 - beta) p + beta q`: `KL(q ‖ p)` for beta 0, `KL(p ‖ q)` for
 * beta 1, else `beta KL(q ‖ m) + (1 - beta) KL(p ‖ m)`, in nats. Differentiable in `hidden` and `weight`; the teacher is a constant.
 * @param hidden `[A, D]`
 * @param weight `[V, D]`
 * @param teacherHidden `[A, E]`
 * @param teacherWeight `[V, E]`
 * @returns `[A]`
 * @throws EspalierError `bad_config` for a beta outside 0 … 1 or a temperature that is not above 0
 * @example
 * const divergence = tokenDivergence(hidden, lmHead, teacherHidden, teacherHead, { beta: 0.5 });
 */
export function tokenDivergence(hidden: Tensor, weight: Tensor, teacherHidden: Tensor, teacherWeight: Tensor, options: TokenDivergenceOptions = {}): Tensor {
  const { beta = 0.5, temperature = 1 } = options;
  const fits = hidden.shape[1] === weight.shape[1] && teacherHidden.shape[1] === teacherWeight.shape[1] && hidden.shape[0] === teacherHidden.shape[0] && weight.shape[0] === teacherWeight.shape[0];
  check(fits, 'tokenDivergence', () => `student [${hidden.shape}] and [${weight.shape}], teacher [${teacherHidden.shape}] and [${teacherWeight.shape}] do not fit`);
  if (!(beta >= 0 && beta <= 1)) throw new EspalierError('bad_config', `the beta of the divergence is ${beta}`, { fix: 'a number from 0 (forward KL) to 1 (reverse KL)' });
  if (!(temperature > 0)) throw new EspalierError('bad_config', `the temperature of the divergence is ${temperature}`, { fix: 'a number above 0' });
  const attrs: TokenDivergenceAttrs = { beta, temperature };
  const [divergence, ...known] = run<Tensor[]>(EspalierTokenDivergence, { hidden, weight, teacherHidden, teacherWeight }, attrs);
  for (const tensor of known) tensor.dispose(); // the tape keeps its own
  return divergence;
}

/** Rows a chunk: its logits take at most 4 MB, of which about ten are alive at once. */
const chunkRows = (vocabSize: number) => Math.max(1, Math.floor(1_048_576 / vocabSize));

/** log(eᵃ + eᵇ) */
const logAddExp = (a: Tensor, b: Tensor) => add(maximum(a, b), softplus(neg(abs(sub(a, b)))));

/** log m from log p and log q, for a beta inside 0 … 1. */
const logMixture = (logP: Tensor, logQ: Tensor, beta: number) => logAddExp(add(logP, Math.log1p(-beta)), add(logQ, Math.log(beta)));

/** KL of each row, from log-probs. [n, 1] */
const kl = (logA: Tensor, logB: Tensor) => sum(mul(exp(logA), sub(logA, logB)), -1, true);

function logits(hidden: Tensor, weight: Tensor, start: number, n: number, temperature: number): Tensor {
  return div(matMul(slice(hidden, [start, 0], [n, -1]), weight, false, true), temperature);
}

portableKernel<TokenDivergenceInputs, TokenDivergenceAttrs>(EspalierTokenDivergence, ({ hidden, weight, teacherHidden, teacherWeight }, { beta, temperature }) => {
  const rows = dims(hidden)[0];
  const size = chunkRows(weight.shape[0]);
  const parts: Tensor[][] = [[], [], [], []];
  for (let start = 0; start < rows; start += size) {
    const n = Math.min(size, rows - start);
    const chunk = tidy(() => {
      const [z, t] = [logits(hidden, weight, start, n, temperature), logits(teacherHidden, teacherWeight, start, n, temperature)];
      const [lse, teacherLse] = [logSumExp(z, -1, true), logSumExp(t, -1, true)];
      const [logP, logQ] = [sub(z, lse), sub(t, teacherLse)];
      let [divergence, studentKl]: Tensor[] = [];
      if (beta === 0) [divergence, studentKl] = [kl(logQ, logP), zerosLike(lse)];
      else if (beta === 1) divergence = studentKl = kl(logP, logQ);
      else {
        const logM = logMixture(logP, logQ, beta);
        studentKl = kl(logP, logM);
        divergence = add(mul(kl(logQ, logM), beta), mul(studentKl, 1 - beta));
      }
      return [divergence, lse, teacherLse, studentKl].map((x) => reshape(x, [n]));
    });
    chunk.forEach((x, i) => parts[i].push(x));
  }
  return parts.map((list) => (list.length > 0 ? concat(list, 0) : zeros([0])));
});

portableKernel<TokenDivergenceGradInputs, TokenDivergenceAttrs>(EspalierTokenDivergenceGrad, (inputs, { beta, temperature }) => {
  const { dDivergence, hidden, weight, teacherHidden, teacherWeight, lse, teacherLse, studentKl } = inputs;
  const [rows, width] = dims(hidden);
  const size = chunkRows(weight.shape[0]);
  const dHiddens: Tensor[] = [];
  let dWeight: Tensor = zeros(weight.shape);
  for (let start = 0; start < rows; start += size) {
    const n = Math.min(size, rows - start);
    const [dHidden, total] = tidy(() => {
      const column = (x: Tensor) => reshape(slice(x, [start], [n]), [n, 1]);
      const logP = sub(logits(hidden, weight, start, n, temperature), column(lse));
      const logQ = sub(logits(teacherHidden, teacherWeight, start, n, temperature), column(teacherLse));
      const p = exp(logP);
      let dz: Tensor; // ∂ divergence / ∂ z
      if (beta === 0) dz = sub(p, exp(logQ));
      else {
        const logM = beta === 1 ? logQ : logMixture(logP, logQ, beta);
        dz = mul(mul(p, sub(sub(logP, logM), column(studentKl))), beta === 1 ? 1 : 1 - beta);
      }
      const dLogits = mul(dz, div(column(dDivergence), temperature));
      return [matMul(dLogits, weight), add(dWeight, matMul(dLogits, slice(hidden, [start, 0], [n, -1]), true, false))];
    });
    dHiddens.push(dHidden);
    dWeight.dispose();
    dWeight = total;
  }
  return [dHiddens.length > 0 ? concat(dHiddens, 0) : tensor2d([], [0, width]), dWeight];
});

const noGradient = (): Tensor => {
  throw new EspalierError('unsupported', 'tokenDivergence has no gradient for the teacher', { fix: 'pass a teacher whose parameters are not trainable' });
};

fusedGradient<TokenDivergenceAttrs>(
  EspalierTokenDivergence,
  { inputsToSave: ['hidden', 'weight', 'teacherHidden', 'teacherWeight'], outputsToSave: [false, true, true, true], dys: 1 },
  ([dDivergence], [hidden, weight, teacherHidden, teacherWeight, lse, teacherLse, studentKl], attrs) => {
    const inputs = { dDivergence, hidden, weight, teacherHidden, teacherWeight, lse, teacherLse, studentKl };
    const gradient = sharedGradients(() => run<Tensor[]>(EspalierTokenDivergenceGrad, inputs, attrs));
    return { hidden: gradient(0), weight: gradient(1), teacherHidden: noGradient, teacherWeight: noGradient };
  },
);
