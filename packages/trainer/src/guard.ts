/** A checkpoint kept for a rollback. */
interface Kept {
  step: number;
  /** Mean of the gold reward in the rounds after it; null without one. */
  gold: number | null;
}

/** Plain JSON, saved with a checkpoint. */
export interface GuardState {
  /** Where a rollback goes. */
  safe: Kept | null;
  /** The newest one: whether it is sound, the rounds after it will tell. */
  candidate: { step: number } | null;
  /** Saved for the guard alone: removed when no longer needed. */
  own: number[];
  /** Of the rounds since the candidate: gold rewards, and the largest severity. */
  rounds: { gold: number[]; severity: number };
}

/**
 * Which checkpoints a rollback may go back to. A candidate is saved every `every` steps and judged by the rounds that follow, for those are sampled with its weights
 * and what came of them: the one with the best gold reward is kept; without a gold reward the newest one after which nothing was suspect.
 */
export class Guard {
  private seen: GuardState;

  constructor(
    private readonly every: number,
    state: GuardState = { safe: null, candidate: null, own: [], rounds: { gold: [], severity: 0 } },
  ) {
    this.seen = structuredClone(state);
  }

  /** Takes what a round said. */
  observe(gold: number | undefined, severity: number): void {
    if (gold !== undefined && Number.isFinite(gold)) this.seen.rounds.gold.push(gold);
    this.seen.rounds.severity = Math.max(this.seen.rounds.severity, severity);
  }

  /** Whether a candidate is due at a step between two rounds. */
  due(step: number): boolean {
    return this.seen.candidate === null || step - this.seen.candidate.step >= this.every;
  }

  /**
   * Judges the candidate, and has the checkpoint of `step` as the next one.
   * @param own whether it was saved for the guard alone
   * @returns steps whose checkpoints are no longer needed
   */
  take(step: number, own: boolean): number[] {
    this.judge();
    this.seen.candidate = { step };
    if (own) this.seen.own.push(step);
    this.seen.rounds = { gold: [], severity: 0 };
    const needed = this.needed();
    const gone = this.seen.own.filter((one) => !needed.includes(one));
    this.seen.own = this.seen.own.filter((one) => needed.includes(one));
    return gone;
  }

  private judge(): void {
    const { candidate, safe, rounds } = this.seen;
    if (!candidate) return;
    const gold = rounds.gold.length > 0 ? rounds.gold.reduce((a, b) => a + b, 0) / rounds.gold.length : null;
    // without a gold reward: what comes before the first suspicion
    const better = safe === null || (gold !== null && safe.gold !== null ? gold >= safe.gold : rounds.severity < 0.5);
    if (better) this.seen.safe = { step: candidate.step, gold };
  }

  /** Where a rollback goes: null before anything was saved. Four rounds, or as many as there are between candidates, are enough to judge the newest too by the gold reward. */
  target(): number | null {
    if (this.seen.safe !== null && this.seen.rounds.gold.length >= Math.min(4, this.every)) this.judge();
    return this.seen.safe?.step ?? this.seen.candidate?.step ?? null;
  }

  needed(): number[] {
    return [this.seen.safe?.step, this.seen.candidate?.step].filter((step) => step !== undefined);
  }

  state(): GuardState {
    return structuredClone(this.seen);
  }
}
