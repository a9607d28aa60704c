import { EspalierTokenOutputs, EspalierTokenOutputsGrad } from '@espalier/native';
import type { TokenOutputsAttrs } from '@espalier/native';
import { EspalierError } from '@espalier/spec';
import { dispose, engine, Variable } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { check, fusedGradient, run, sharedGradients } from './kernel';
import './token-outputs-kernels';

export type TokenOutputName = 'logps' | 'entropy' | 'sumSquares';

export interface TokenOutputsOptions {
  /** Logits are divided by it. Default 1; must be above 0. */
  temperature?: number;
  /** Default: `['logps']`. Log-probs are always computed. */
  needs?: readonly TokenOutputName[];
  /** Whether a recording may hold on to what spares its backward pass some work, within a bound that the backend sets (104 MB on `native`). Default true. */
  keep?: boolean;
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
  const { temperature = 1, needs = ['logps'], keep = true } = options;
  check(hidden.shape[0] === targets.length && hidden.shape[1] === weight.shape[1], 'tokenOutputs', () => `hidden [${hidden.shape}], weight [${weight.shape}] and ${targets.length} targets do not fit`);
  if (!(temperature > 0)) throw new EspalierError('bad_config', `the temperature of log-probs is ${temperature}`, { fix: 'a number above 0' });
  for (const id of targets) if (id < 0 || id >= weight.shape[0]) throw new EspalierError('bad_data', `token ${id} is outside the vocabulary of ${weight.shape[0]}`);
  const attrs: TokenOutputsAttrs = { targets, temperature, entropy: needs.includes('entropy'), sumSquares: needs.includes('sumSquares'), frozenWeight: weight instanceof Variable && !weight.trainable, keep: keep && engine().isTapeOn() };
  const [logps, entropy, sumSquares, lse, kept] = run<Tensor[]>(EspalierTokenOutputs, { hidden, weight }, attrs);
  dispose([lse, kept]); // the tape keeps its own
  if (!attrs.entropy) entropy.dispose();
  if (!attrs.sumSquares) sumSquares.dispose();
  return { logps, ...(attrs.entropy && { entropy }), ...(attrs.sumSquares && { sumSquares }) };
}

fusedGradient<TokenOutputsAttrs>(EspalierTokenOutputs, { inputsToSave: ['hidden', 'weight'], outputsToSave: [true, true, true, true, true], dys: 3 }, (dys, saved, attrs) => {
  const [dLogps, dEntropy, dSumSquares] = dys;
  const [hidden, weight, logps, entropy, sumSquares, lse, kept] = saved;
  const gradient = sharedGradients(() => run<Tensor[]>(EspalierTokenOutputsGrad, { dLogps, dEntropy, dSumSquares, hidden, weight, logps, entropy, sumSquares, lse, kept }, attrs));
  return { hidden: gradient(0), weight: gradient(1) };
});
