import type { Algorithm } from '@espalier/spec';
import type { OpenLearnersContext, OwningAlgorithm, PolicyEngineOptions } from '@espalier/trainer';

/** An algorithm that tells of the policy once it is open, and may want more of its engine. */
export function bindPolicy(algorithm: Algorithm, bind: (context: OpenLearnersContext) => void | Promise<void>, engine: PolicyEngineOptions = {}): OwningAlgorithm {
  const owning: OwningAlgorithm = algorithm;
  return {
    ...owning,
    policyEngine: { ...owning.policyEngine, ...engine },
    async openLearners(context) {
      await bind(context);
      return (await owning.openLearners?.(context)) ?? { learners: [], close: async () => undefined };
    },
  };
}
