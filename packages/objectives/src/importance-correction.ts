import { EspalierError } from '@espalier/spec';
import { rowMean, rowSum, spreadRows, type Rows } from './rows';
import { constant, type VectorLike } from './vector';

/**
 * How the mismatch between the sampler μ and the trainer's copy π_old of the policy is corrected, with w = π_old/μ.
 *
 * - `token_truncate`: each token weighs its own w, limited to [clipMin, clipMax] (truncated importance sampling, TIS)
 * - `token_mask`: its own w inside the bounds, 0 outside (IcePop with bounds 0.5 and 5: 2510.18855)
 * - `sequence_truncate`: all tokens of a sequence weigh Π w, limited
 * - `sequence_mask`: Π w inside the bounds, 0 outside: the sequence is left out (TRL's default)
 * - `geometric_mask`: the geometric mean (Π w)^(1/T) inside the bounds, 0 outside: what long sequences need, whose product leaves any bounds
 */
export const importanceCorrectionModes = ['token_truncate', 'token_mask', 'sequence_truncate', 'sequence_mask', 'geometric_mask'] as const;
export type ImportanceCorrectionMode = (typeof importanceCorrectionModes)[number];

export interface ImportanceCorrectionOptions {
  /** Default `sequence_mask`. */
  mode?: ImportanceCorrectionMode;
  /** Upper bound; null: none. Default 3. */
  clipMax?: number | null;
  /** Lower bound; null: none. Default: none. */
  clipMin?: number | null;
}

export interface ImportanceCorrection {
  /** The factor of each token's loss, a constant: no derivative passes through it. [A] */
  ratio: Float64Array;
  /** w before the bounds, one a token, or one a sequence with the modes that take sequences as a whole. */
  raw: Float64Array;
  /** The same after the bounds: `ratio`, with one number a sequence where the mode takes it as a whole. */
  weights: Float64Array;
  /** Share of `raw` that lay outside the bounds. */
  clippedShare: number;
  /** (Σ w)² / (n Σ w²) of `ratio` over tokens or sequences as the mode has it: 1 when all weigh the same, 0 when nothing is left. */
  effectiveSampleSize: number;
}

/** Kish's effective sample size as a share of the number of weights: (Σ w)² / (n Σ w²); 1 for none, 0 when all are 0. */
export function effectiveSampleSize(weights: ArrayLike<number>): number {
  let sum = 0;
  let squares = 0;
  for (let i = 0; i < weights.length; i++) {
    sum += weights[i];
    squares += weights[i] ** 2;
  }
  return weights.length === 0 ? 1 : squares === 0 ? 0 : sum ** 2 / (weights.length * squares);
}

/**
 * Weights that correct for a sampler whose probabilities are not the trainer's: another engine, other precision, older weights.
 *
 * @param inputs.oldLogps log-probs of the trainer's policy when training on these tokens began [A]
 * @param inputs.samplerLogps log-probs of the sampler [A]; NaN where it gave none: w is 1 there
 * @param inputs.rows the tokens of each sequence; sequences without tokens count for nothing
 * @throws EspalierError `bad_config` for an unknown mode or bounds that cross; `bad_data` when lengths differ or a number is infinite
 * Source: TRL 1.16 `vllm_importance_sampling_mode`; Yao et al., "Your efficient RL framework secretly brings you off-policy RL training" (2025).
 *
 * @example
 * importanceCorrection({ oldLogps: [-1, -2], samplerLogps: [-1.1, -2], rows: rowsOf([2]) }, { mode: 'sequence_mask', clipMax: 3 }).ratio; // [1.105, 1.105]
 */
export function importanceCorrection(inputs: { oldLogps: ArrayLike<number>; samplerLogps: ArrayLike<number>; rows: Rows }, options: ImportanceCorrectionOptions = {}): ImportanceCorrection {
  const { oldLogps, samplerLogps, rows } = inputs;
  const mode = options.mode ?? 'sequence_mask';
  const clipMax = options.clipMax === undefined ? 3 : options.clipMax;
  const clipMin = options.clipMin ?? null;
  if (!importanceCorrectionModes.includes(mode)) throw new EspalierError('bad_config', `\`importance_sampling_mode\` ${JSON.stringify(mode)} is unknown`, { fix: `one of ${importanceCorrectionModes.join(', ')}` });
  if (clipMin !== null && clipMax !== null && !(clipMin < clipMax)) throw new EspalierError('bad_config', `\`importance_sampling_clip_min\` ${clipMin} is not below \`importance_sampling_clip_max\` ${clipMax}`, { fix: 'a lower bound below the upper one' });
  if (oldLogps.length !== rows.size || samplerLogps.length !== rows.size) {
    throw new EspalierError('bad_data', `\`oldLogps\` has ${oldLogps.length} numbers and \`samplerLogps\` ${samplerLogps.length} for ${rows.size} tokens`, { fix: 'one of each a token' });
  }
  const logW = Float64Array.from({ length: rows.size }, (_, i) => {
    if (!Number.isFinite(oldLogps[i]) || Math.abs(samplerLogps[i]) === Infinity) throw new EspalierError('bad_data', `token ${i} has the log-prob ${oldLogps[i]} and the sampler's ${samplerLogps[i]}`, { fix: 'finite numbers' });
    return Number.isNaN(samplerLogps[i]) ? 0 : oldLogps[i] - samplerLogps[i];
  });
  const filled = Array.from({ length: rows.count }, (_, r) => r).filter((r) => rows.offsets[r + 1] > rows.offsets[r]);
  const perSequence = !mode.startsWith('token');
  const levelled: VectorLike = mode === 'geometric_mask' ? rowMean(logW, rows) : perSequence ? rowSum(logW, rows) : logW;
  const weights = constant(levelled).values.map(Math.exp); // [A] or [R]
  const outside = (w: number) => (clipMax !== null && w > clipMax) || (clipMin !== null && w < clipMin);
  const bounded = weights.map((w) => (!outside(w) ? w : mode.endsWith('mask') ? 0 : Math.min(Math.max(w, clipMin ?? 0), clipMax ?? Infinity)));
  const pick = (values: Float64Array) => (perSequence ? Float64Array.from(filled, (r) => values[r]) : values);
  const raw = pick(weights);
  const kept = pick(bounded);
  return {
    ratio: perSequence ? spreadRows(bounded, rows).values : bounded,
    raw,
    weights: kept,
    clippedShare: raw.length === 0 ? 0 : raw.filter(outside).length / raw.length,
    effectiveSampleSize: effectiveSampleSize(kept),
  };
}

/**
 * How far the sampler μ is from the trainer's copy π_old, over the tokens for which both are known: mean and largest |log π_old − log μ|, and KL(μ ‖ π_old) by
 * k3 (its samples are μ's): mean of w − 1 − log w.
 *
 * @param oldLogps [A]
 * @param samplerLogps [A]; NaN where unknown
 */
export function samplerMismatch(oldLogps: ArrayLike<number>, samplerLogps: ArrayLike<number>): { differences: { sum: number; max: number }; kl: number; effectiveSampleSize: number; count: number } {
  let sum = 0;
  let max = 0;
  let kl = 0;
  const weights: number[] = [];
  for (let i = 0; i < oldLogps.length; i++) {
    const logW = oldLogps[i] - samplerLogps[i];
    if (Number.isNaN(logW)) continue;
    sum += Math.abs(logW);
    max = Math.max(max, Math.abs(logW));
    kl += Math.expm1(logW) - logW;
    weights.push(Math.exp(logW));
  }
  return { differences: { sum, max }, kl, effectiveSampleSize: effectiveSampleSize(weights), count: weights.length };
}
