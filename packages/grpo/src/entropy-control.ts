/** Options of the adaptive entropy coefficient (Skywork-OR1, 2505.22312), by TRL's names and with its defaults. */
export interface EntropyControlOptions {
  /** To begin with. */
  entropyCoef: number;
  entropyCoefMin: number;
  entropyCoefMax: number;
  /** By how much the coefficient moves after each optimiser step. */
  entropyCoefDelta: number;
  /** Mean entropy a token, in nats, below which the coefficient grows and counts. */
  entropyTarget: number;
}

export interface EntropyControlState {
  coefficient: number;
  /** Of the last optimiser step; null before the first. */
  lastEntropy: number | null;
}

/**
 * The coefficient of the entropy bonus, moved after each optimiser step: up by delta where the mean entropy of the step's tokens was at most the target, down
 * where it was above. It counts only in steps that follow one at or below the target. A step is over when all tokens of its normalizer were seen.
 */
export class EntropyController {
  private lastEntropy = Infinity;
  private coefficient: number;
  private seen = { entropy: 0, active: 0, tokens: 0 };

  constructor(private readonly options: EntropyControlOptions) {
    this.coefficient = options.entropyCoef;
  }

  /** The coefficient of this step's loss. */
  get applied(): number {
    return this.lastEntropy <= this.options.entropyTarget ? this.coefficient : 0;
  }

  /** The coefficient itself, applied or not. */
  get current(): number {
    return this.coefficient;
  }

  /**
   * A part of an optimiser step was evaluated.
   * @param part entropy summed over the tokens that the bonus acts on, their number, and the number of all tokens of the part
   * @param stepTokens of the whole optimiser step
   */
  observe(part: { entropy: number; active: number; tokens: number }, stepTokens: number): void {
    this.seen = { entropy: this.seen.entropy + part.entropy, active: this.seen.active + part.active, tokens: this.seen.tokens + part.tokens };
    if (this.seen.tokens < stepTokens) return;
    const { entropyCoefMin, entropyCoefMax, entropyCoefDelta, entropyTarget } = this.options;
    this.lastEntropy = this.seen.entropy / Math.max(this.seen.active, 1);
    this.coefficient = this.lastEntropy <= entropyTarget ? Math.min(this.coefficient + entropyCoefDelta, entropyCoefMax) : Math.max(this.coefficient - entropyCoefDelta, entropyCoefMin);
    this.seen = { entropy: 0, active: 0, tokens: 0 };
  }

  state(): EntropyControlState {
    return { coefficient: this.coefficient, lastEntropy: Number.isFinite(this.lastEntropy) ? this.lastEntropy : null };
  }

  restore(state: EntropyControlState): void {
    this.coefficient = state.coefficient;
    this.lastEntropy = state.lastEntropy ?? Infinity;
    this.seen = { entropy: 0, active: 0, tokens: 0 };
  }
}
