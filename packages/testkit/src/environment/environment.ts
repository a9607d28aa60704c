import type { Reward } from '@espalier/spec';

/** What is said in an episode: at least a role and text. */
export interface EnvironmentTurn {
  role: string;
  content: string;
  [extra: string]: unknown;
}

/** What a step of an episode leads to. */
export interface EnvironmentStep<Turn extends EnvironmentTurn = EnvironmentTurn> {
  /** What the policy sees next. Absent where the episode is done. */
  observation?: Turn;
  reward?: Reward | null;
  done: boolean;
}

/**
 * An episode of several turns: a task, replies, observations. The contracts have no environment yet; any object of this form can be checked.
 * One object has one episode at a time: `reset` begins another.
 */
export interface EnvironmentLike<Row = Record<string, unknown>, Turn extends EnvironmentTurn = EnvironmentTurn> {
  specVersion?: string;
  name?: string;
  reset(row: Row, seed: number): Promise<Turn>;
  step(reply: Turn): Promise<EnvironmentStep<Turn>>;
  close?(): Promise<void>;
}
