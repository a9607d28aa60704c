/** How long an evaluation's metric has not improved: plain JSON, saved with a checkpoint. */
export interface PatienceState {
  best: number | null;
  /** Evaluations in a row without an improvement by more than the threshold. */
  count: number;
}

/**
 * `transformers`' early stopping: an evaluation that is better than the best one by more than `threshold` resets the count; the best moves with
 * every improvement, however small.
 */
export function nextPatience(state: PatienceState, value: number, options: { greaterIsBetter: boolean; threshold: number }): PatienceState {
  const better = state.best === null ? Number.isFinite(value) : options.greaterIsBetter ? value > state.best : value < state.best;
  const enough = better && (state.best === null || Math.abs(value - state.best) > options.threshold);
  return { best: better ? value : state.best, count: enough ? 0 : state.count + 1 };
}
