import type { Metrics, MetricSums, Notice, Objective, TokenBatch } from '@espalier/spec';
import type { Json } from './trainer-state';

export interface UpdatePart {
  batch: TokenBatch;
  objective: Objective;
  temperature?: number;
  /** Put before the names of the metrics. */
  prefix?: string;
  /** Noise on the embeddings (NEFTune), drawn from `seed`. */
  neftuneNoiseAlpha?: number;
  seed?: number;
  /** The name of an owned learner. Default: the policy. */
  learner?: string;
}

/** What one step of the run is computed from: an optimiser step, or several that count as one. */
export interface Update {
  /** The (first) optimiser step. The parts' `normalizer`s are of the whole of it. */
  parts: readonly UpdatePart[];
  /** Optimiser steps after the first one (epochs and minibatches of PPO), under the same learning rate. */
  further?: readonly (readonly UpdatePart[])[];
  /** Asked with the metrics of an optimiser step, before it is taken: true leaves out this one and those after it. */
  enough?(metrics: MetricSums): boolean;
  /** Metrics over the optimiser steps that were taken. */
  summary?(steps: readonly MetricSums[]): Metrics;
  /** Tokens trained on. */
  numTokens: number;
}

/** One turn of the loop: what was collected, and the optimiser steps to take on it. */
export interface Round {
  updates: readonly Update[];
  metrics: Metrics;
  samples?: readonly Json[];
  /** What has come up: each name is told once a run. */
  notices?: readonly Omit<Notice, 'step'>[];
}

/** Where the rounds come from: rows (offline) or generation (online). */
export interface RoundSource {
  /** Makes round `index`. Everything random in it derives from (seed, index) and the cursor. Must change no weights. */
  prepare(round: { index: number; step: number; signal?: AbortSignal }): Promise<Round>;
  /** Share of all rows seen, e.g. 1.5. */
  epoch(): number;
  state(): Json;
  restore(state: Json): void;
  /** State of the algorithm, when it has one. */
  algorithmState?(): Json | undefined;
  restoreAlgorithm?(state: Json): void;
}
