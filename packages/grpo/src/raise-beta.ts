import type { Algorithm } from '@espalier/spec';
import type { Json, OwningAlgorithm, StatefulAlgorithm } from '@espalier/trainer';

/**
 * Lets an alarm make the KL term weigh more (`raise_beta`): `parsed.beta` is what the algorithm reads at every step, and what it was raised to is saved with
 * checkpoints. Without a KL term the algorithm stays as it is.
 */
export function withRaisableBeta(algorithm: Algorithm | StatefulAlgorithm, parsed: { beta: number }): Algorithm | StatefulAlgorithm {
  if (parsed.beta === 0) return algorithm;
  const inner = 'state' in algorithm ? algorithm : null;
  return {
    ...algorithm,
    raiseBeta: (factor: number) => (parsed.beta *= factor),
    state: (): Json => ({ beta: parsed.beta, ...(inner ? { inner: inner.state() } : {}) }),
    restore(saved: Json) {
      const { beta, inner: own } = saved as { beta?: number; inner?: Json };
      if (beta !== undefined) parsed.beta = beta;
      if (inner) inner.restore(own ?? saved); // before there was a beta in it, all of the state was the inner one
    },
  } as OwningAlgorithm & StatefulAlgorithm;
}
