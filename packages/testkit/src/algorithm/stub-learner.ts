import { throwIfAborted, type Learner, type Outputs, type TokenBatch } from '@espalier/spec';
import { outputNames } from '../objective/output-names';

/** A learner without a model: its numbers are a function of the tokens, and it keeps what it was asked. */
export interface StubLearner extends Learner {
  calls: { needs: readonly string[]; reference: boolean; signal: AbortSignal | undefined }[];
}

const number: Record<string, (token: number) => number> = {
  logps: (token) => -0.3 - (token % 9) / 8,
  entropy: (token) => 0.5 + (token % 5) / 4,
  values: (token) => ((token % 7) - 3) / 8,
  scores: (token) => ((token % 11) - 5) / 8,
  sumSquares: (token) => 0.1 + (token % 6) / 8,
  teacherDivergence: (token) => 0.1 + (token % 4) / 8,
};

/**
 * For algorithms that are tried without a model. Its reference's log-probs differ a little from its own.
 * @example
 * const { batch } = await algorithm.experience(sampleGroups(), { step: 1, learner: stubLearner(), rewardWeights: {}, maxCompletionLength: 8, temperature: 1 });
 */
export function stubLearner(): StubLearner {
  const calls: StubLearner['calls'] = [];
  const forward = (batch: TokenBatch, needs: readonly string[], reference: boolean): Outputs =>
    Object.fromEntries(needs.map((name) => [name, Float32Array.from(batch.actionIndex, (t) => number[name](batch.tokens[t]) - (reference ? (batch.tokens[t] % 3) / 16 : 0))]));
  return {
    calls,
    specVersion: 'v1',
    capabilities: { outputs: outputNames, sharedPrefixes: true, precision: 'fp32', backend: 'stub' },
    async forward(batch, needs, options = {}) {
      calls.push({ needs: [...needs], reference: options.reference ?? false, signal: options.signal });
      throwIfAborted(options.signal);
      return forward(batch, needs, options.reference ?? false);
    },
    async forwardBackward(batch, objective, options = {}) {
      throwIfAborted(options.signal);
      const { loss, metrics } = objective.evaluate(forward(batch, objective.needs, false), batch);
      return { loss, metrics };
    },
    optimStep: async () => ({ grad_norm: 1 }),
    publish: async () => ({ kind: 'memory', id: 'stub', version: 1, digest: 'stub' }),
    save: async () => undefined,
    load: async () => undefined,
    close: async () => undefined,
  };
}
