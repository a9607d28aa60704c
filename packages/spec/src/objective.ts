import type { MetricSums, OutputName, OutputOptions, Outputs, TokenBatch } from './token-batch';

/** What a micro-batch may not tear apart: nothing, a sequence, a pair of sequences, or the whole batch. */
export type Coupling = 'token' | 'sequence' | 'pair' | 'batch';

export interface Evaluation {
  /** The contribution of this (micro-)batch to the loss of the optimiser step: contributions add up. */
  loss: number;
  /** Derivative of `loss` with respect to each output that it depends on. */
  grads: Outputs;
  metrics: MetricSums;
}

/** A loss as pure arithmetic on per-token numbers: a formula, its derivative, and what to log. */
export interface Objective {
  specVersion: 'v1';
  name: string;
  needs: readonly OutputName[];
  /** How those are computed, where there is a choice. */
  outputOptions?: OutputOptions;
  coupling: Coupling;
  evaluate(outputs: Outputs, batch: TokenBatch): Evaluation;
  /** [A] 1 for actions whose derivatives are 0 whatever the outputs are (an advantage of 0, say): a learner may then leave their backward pass out. */
  inert?(batch: TokenBatch): Uint8Array;
}
