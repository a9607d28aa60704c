import { EspalierError } from '@espalier/spec';
import { add, exp, mul, square, sub, sum } from './vector-ops';
import { constant, gradients, variable, type Vector, type VectorLike } from './vector';

export const klEstimators = ['k1', 'k2', 'k3'] as const;
/** Estimators of KL(π ‖ π_ref) from samples of π: Schulman, "Approximating KL divergence" (2020). */
export type KlEstimator = (typeof klEstimators)[number];

/**
 * The estimate at each token, on the tape. With x = ref − logp: k1 = −x (unbiased, can be negative), k2 = x²/2 (biased, never negative),
 * k3 = eˣ − 1 − x (unbiased and never negative; what GRPO uses).
 */
export function klVector(logps: VectorLike, refLogps: VectorLike, estimator: KlEstimator): Vector {
  const x = sub(refLogps, logps); // [A]
  switch (estimator) {
    case 'k1':
      return mul(x, -1);
    case 'k2':
      return mul(square(x), 0.5);
    case 'k3':
      return sub(add(exp(x), -1), x);
    default:
      throw new EspalierError('bad_config', `\`estimator\` ${JSON.stringify(estimator)} is no KL estimator`, { fix: `one of ${klEstimators.join(', ')}` });
  }
}

/**
 * KL estimates per token, with the derivative of each with respect to its own log-probs.
 *
 * @param inputs log-probs in nats of the sampled tokens under the policy and under the reference, [A] each
 * @returns `values` [A]; `grads.logps[i]` = d values[i] / d logps[i], `grads.refLogps[i]` alike; `mean` of the values (0 when there are none)
 * @throws EspalierError `bad_data` when the lengths differ, `bad_config` for an unknown estimator
 *
 * @example
 * klEstimate({ logps: [-1], refLogps: [-1.3] }, { estimator: 'k3' }).values; // [0.0408…]
 */
export function klEstimate(
  inputs: { logps: ArrayLike<number>; refLogps: ArrayLike<number> },
  options: { estimator?: KlEstimator } = {},
): { values: Float64Array; mean: number; grads: { logps: Float64Array; refLogps: Float64Array } } {
  if (inputs.logps.length !== inputs.refLogps.length) {
    throw new EspalierError('bad_data', `\`logps\` has ${inputs.logps.length} numbers and \`refLogps\` has ${inputs.refLogps.length}`, { fix: 'one of each a token' });
  }
  const logps = variable(inputs.logps);
  const refLogps = variable(inputs.refLogps);
  const kl = constant(klVector(logps, refLogps, options.estimator ?? 'k3'));
  const total = sum(kl); // each value depends on its own token alone, so the gradient of the sum is the gradient of each
  const [forLogps, forRefLogps] = gradients(total, [logps, refLogps]);
  return { values: kl.values, mean: total.item() / Math.max(kl.size, 1), grads: { logps: forLogps, refLogps: forRefLogps } };
}
