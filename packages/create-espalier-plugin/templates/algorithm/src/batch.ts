import type { ScoredTrajectory, TokenBatch } from '@espalier/spec';

/**
 * A batch of trajectories, each a sequence of its own: every token that the policy sampled is an action, with the advantage of its trajectory. Where that is
 * null, there is no action, and so nothing to be learnt.
 */
export function packTrajectories(trajectories: readonly ScoredTrajectory[], advantages: readonly (number | null)[]): TokenBatch {
  const tokens: number[] = [];
  const offsets = [0];
  const actionIndex: number[] = [];
  const column: number[] = [];
  trajectories.forEach((trajectory, i) => {
    const advantage = advantages[i];
    trajectory.tokens.forEach((token, t) => {
      if (trajectory.trainable[t] && t > 0 && advantage !== null) {
        actionIndex.push(tokens.length);
        column.push(advantage);
      }
      tokens.push(token);
    });
    offsets.push(tokens.length);
  });
  return {
    tokens: Int32Array.from(tokens),
    offsets: Int32Array.from(offsets),
    actionIndex: Int32Array.from(actionIndex),
    columns: { advantages: Float32Array.from(column) },
    normalizer: { tokens: column.length, sequences: trajectories.length },
  };
}
