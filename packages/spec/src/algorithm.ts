import type { Learner, Metrics } from './learner';
import type { Objective } from './objective';
import type { Reward } from './reward';
import type { TokenBatch } from './token-batch';
import type { Trajectory } from './trajectory';

/** A trajectory with what the reward functions gave it, by function name. */
export interface ScoredTrajectory extends Trajectory {
  rewards: Readonly<Record<string, Reward | null>>;
  /** The row of the dataset that its prompt came from. */
  row?: Readonly<Record<string, unknown>>;
}

export interface ExperienceContext {
  step: number;
  learner: Learner;
  /** Weight of each reward function; a name that is missing weighs 1. */
  rewardWeights: Readonly<Record<string, number>>;
  maxCompletionLength: number;
  temperature: number;
  /**
   * Who sampled: whether with the learner's own weights (then there is nothing to take over, and nothing to lag behind), and the version of the weights that the
   * learner has published last.
   */
  sampler?: { sharesWeights: boolean; version: number };
  signal?: AbortSignal;
}

/** What an algorithm makes of scored groups. */
export interface Experience {
  batch: TokenBatch;
  metrics: Metrics;
  /** Advantage of each trajectory, in the order of the groups; where it differs by token, the mean over its tokens. For `samples.jsonl`; null: it is not trained on. */
  advantages?: readonly (readonly (number | null)[])[];
}

/** An on-policy method: how scored groups become a batch with advantages, and the objective trained on it. */
export interface Algorithm {
  specVersion: 'v1';
  name: string;
  objective: Objective;
  /** Optimiser steps taken on one experience (TRL: `num_iterations`). */
  numIterations: number;
  /** Whether a frozen copy of the first weights must be kept for `refLogps`. */
  needsReference: boolean;
  experience(groups: readonly (readonly ScoredTrajectory[])[], context: ExperienceContext): Promise<Experience>;
}
