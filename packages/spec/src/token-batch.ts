/** The numbers by name that a learner can give for every asked-for position, and an objective can differentiate. */
export type OutputName = 'logps' | 'entropy' | 'values' | 'scores' | 'sumSquares' | 'teacherDivergence';

/** How an output is computed that can be computed in several ways. An objective that needs it says so; without that, the defaults hold. */
export interface OutputOptions {
  /**
   * `beta` from 0 (KL of the student from the teacher: forward) to 1 (reverse), default 0.5; `temperature` divides the logits of both, default: the temperature
   * of the call.
   */
  teacherDivergence?: { beta?: number; temperature?: number };
}

/** One number an action (position asked for), in the order of `TokenBatch.actionIndex`. */
export type Outputs = Partial<Record<OutputName, Float32Array>>;

/**
 * A ragged batch: nothing is padded. Sequence `i` is `tokens[offsets[i] .. offsets[i + 1])`.
 *
 * When `prefixOf[i] = j >= 0`, the context of sequence `i` is sequence `j` followed by its own tokens: the prompt of a group or a pair is
 * stored, and computed, once. `j` must be a sequence without a prefix of its own. `-1`: no prefix.
 */
export interface TokenBatch {
  tokens: Int32Array; // [T]
  offsets: Int32Array; // [S + 1]
  prefixOf?: Int32Array; // [S]
  /**
   * The tokens whose numbers are asked for, as indices into `tokens`, ascending. The log-prob of token `t` is that of predicting it from what
   * precedes it in its sequence (for the first token of a sequence with a prefix: from the last token of the prefix). The first token of a
   * sequence without a prefix has no log-prob and may not be asked for.
   */
  actionIndex: Int32Array; // [A]
  /** Numbers aligned with `actionIndex`: `oldLogps`, `refLogps`, `advantages`, `weights` … */
  columns: Record<string, Float32Array>; // each [A]
  /** Pairs of sequences for objectives of coupling `pair`: chosen, rejected, chosen, rejected … */
  pairs?: Int32Array; // [2 P]
  /** Counts over the whole optimiser step, whatever it is split into: means are taken over these. */
  normalizer: { tokens: number; sequences: number };
}

/** Sums with their weights, so that micro-batches add up: the metric is `sum / weight`. */
export type MetricSums = Record<string, { sum: number; weight: number }>;
