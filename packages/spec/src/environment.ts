import type { Reward } from './reward';
import type { Message } from './trajectory';

/** A function that the policy may call: what its chat template is told. */
export interface ToolDescription {
  name: string;
  description: string;
  /** JSON schema of the arguments: an object with `properties`. */
  parameters: Readonly<Record<string, unknown>>;
}

/** What a reply led to. */
export interface EnvironmentStep {
  /** What the policy sees next: one message, or several (the results of several calls). Absent, or empty, where the episode is done. */
  observation?: readonly Message[];
  /** What this reply earned; an episode earns the sum of its steps. `null`, or absent: nothing applied, which is not 0. */
  reward?: Reward | null;
  done: boolean;
  /** Tool calls that the reply held, and those of them that failed (an unknown tool, arguments that do not fit, an error): for `tools/call_frequency` and `tools/failure_frequency`. */
  toolCalls?: { made: number; failed: number };
}

/**
 * A task of several turns: a beginning, and an answer to each reply. It is determined by row, seed and replies. One object has one episode at a time, and
 * `reset` begins another; samples of a group run side by side, each in an instance of its own. It sees text alone: tokens, and which of them are trained,
 * are the rollout's matter.
 */
export interface Environment<Row = Record<string, unknown>> {
  specVersion: 'v1';
  name: string;
  /** What the policy may call. A call stands in the reply, as the model wrote it; `step` reads and answers it. */
  tools?: readonly ToolDescription[];
  /**
   * Begins an episode.
   * @returns the messages that the policy sees first: at least one
   */
  reset(row: Row, seed: number, options?: { signal?: AbortSignal }): Promise<readonly Message[]>;
  /** Takes a reply of the policy. After the end it throws, or says `done` again. */
  step(reply: Message, options?: { signal?: AbortSignal }): Promise<EnvironmentStep>;
  /** Gives back what it holds: processes, connections. */
  close?(): Promise<void>;
}
