import type { FinishReason, Message } from './trajectory';

/** One completion to be scored, with the row of the dataset that its prompt came from. */
export interface RewardSample<Row = Record<string, unknown>> {
  prompt: string | readonly Message[];
  completion: string;
  completionTokens: Int32Array;
  finishReason: FinishReason;
  /** Samples of one prompt share it. */
  group: string;
  row: Row;
  /**
   * What was said after the prompt in an episode of several turns: replies of the policy (`assistant`), and what tools and environment answered. Then `completion` is the
   * last reply, and `completionTokens` holds those of all replies. Absent where there was no environment.
   */
  messages?: readonly Message[];
}

export interface RewardContext {
  step: number;
  signal?: AbortSignal;
  log?(metric: string, value: number): void;
  /** The samples are looked at, not learnt from: what a reward function keeps from call to call stays as it is. */
  evaluation?: boolean;
}

/** A number, or one with its parts. */
export type Reward = number | { total: number; perToken?: Float32Array; components?: Record<string, number>; note?: string };

/** Scores completions. `null`: not applicable; the sample is excluded and counted, never scored 0. */
export interface RewardFunction<Row = Record<string, unknown>> {
  specVersion: 'v1';
  name: string;
  score(samples: readonly RewardSample<Row>[], context: RewardContext): Promise<readonly (Reward | null)[]>;
  /** What it keeps from call to call (running statistics), as JSON: saved with a run's checkpoints. */
  state?(): unknown;
  restore?(state: unknown): void;
}
