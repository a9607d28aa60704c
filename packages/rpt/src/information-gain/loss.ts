import { aggregate, clip, constant, exp, flatten, gradients, min, mul, neg, nestedMask, stopGradient, sub, unflatten, variable, type Nested, type Normalizer, type Rows, type Vector, type VectorLike } from '@espalier/objectives';
import { EspalierError } from '@espalier/spec';

export interface ThoughtLossOptions {
  /** Ratios are clipped to 1 − epsilon … 1 + epsilonHigh. Default 0.2. */
  epsilon?: number;
  /** Default: `epsilon`. */
  epsilonHigh?: number;
}

/** What the loss is computed from, on the tape: one entry a thought token. */
export interface ThoughtTerms {
  logps: Vector; // [A]
  /** Of the policy that sampled; null: it is the current one. [A] */
  oldLogps: VectorLike | null;
  /** The same for all tokens of a thought. [A] */
  advantages: VectorLike;
  rows: Rows;
  normalizer: Normalizer;
}

/**
 * The clipped surrogate over thought tokens of Reinforcement as a Pretraining Objective (Hatamizadeh et al. 2025, 2510.01265, §3): −1/N Σ_i 1/|c_i| Σ_t
 * min(ρ_t A_i, clip(ρ_t, 1 − ε, 1 + ε_high) A_i), with ρ_t = π(c_t) / π_old(c_t). Advantages are constants; the predicted token itself is no part of it.
 */
export function thoughtTerms({ logps, oldLogps, advantages, rows, normalizer }: ThoughtTerms, options: ThoughtLossOptions = {}): { loss: Vector; ratio: Vector; clipped: Float64Array } {
  const epsilon = options.epsilon ?? 0.2;
  const [low, high] = [1 - epsilon, 1 + (options.epsilonHigh ?? epsilon)];
  const ratio = exp(sub(logps, oldLogps === null ? stopGradient(logps) : constant(oldLogps)));
  const weights = constant(advantages);
  const perToken = neg(min(mul(ratio, weights), mul(clip(ratio, low, high), weights)));
  const clipped = ratio.values.map((r, i) => Number((r < low && weights.values[i] < 0) || (r > high && weights.values[i] > 0)));
  return { loss: aggregate(perToken, rows, 'grpo', normalizer), ratio, clipped };
}

/**
 * Group-relative advantages without a division by the spread: G / (G − 1) · (r − mean of the group), the difference from the mean of the others. Null
 * where nothing was scored, or alone in its group.
 * @param groupSizes thoughts of each group, in the order of the rewards
 */
export function thoughtAdvantages(rewards: readonly (number | null)[], groupSizes: readonly number[]): (number | null)[] {
  const advantages: (number | null)[] = [];
  for (const size of groupSizes) {
    const group = rewards.slice(advantages.length, advantages.length + size);
    const scored = group.filter((reward) => reward !== null);
    const mean = scored.reduce((a, b) => a + b, 0) / scored.length;
    advantages.push(...group.map((reward) => (reward === null || scored.length < 2 ? null : (scored.length / (scored.length - 1)) * (reward - mean))));
  }
  if (advantages.length !== rewards.length) throw new EspalierError('bad_data', `groups of ${groupSizes.join(' + ')} are ${advantages.length} thoughts, and there are ${rewards.length} rewards`);
  return advantages;
}

export interface ThoughtLossResult {
  loss: number;
  /** d loss / d logps, 0 where the mask is 0. */
  grads: { logps: number[][] };
  metrics: { clip_ratio: number };
}

/**
 * {@link thoughtTerms} on plain numbers, in float64, with its derivative.
 *
 * @param inputs.logps log-prob (nats) of each thought token, a row a thought
 * @param inputs.oldLogps default: `logps` as constants (ρ = 1), right when the thoughts were sampled with the current weights
 * @param inputs.advantages one a thought
 * @param inputs.mask 1 where a token counts. Default: all
 * @param inputs.normalizer counts of the whole optimiser step when these rows are a part of it
 * @throws EspalierError `bad_data` when shapes differ or an entry that counts is not finite
 *
 * @example
 * thoughtLoss({ logps: [[-1, -2], [-1]], advantages: [1, -1] }).grads.logps; // [[-0.25, -0.25], [0.5]]
 */
export function thoughtLoss(inputs: { logps: Nested; oldLogps?: Nested; advantages: ArrayLike<number>; mask?: Nested; normalizer?: Normalizer }, options: ThoughtLossOptions = {}): ThoughtLossResult {
  const mask = nestedMask('logps', inputs.logps, inputs.mask);
  const { rows } = mask;
  if (inputs.advantages.length !== rows.count) throw new EspalierError('bad_data', `\`advantages\` has ${inputs.advantages.length} numbers for ${rows.count} thoughts`, { fix: 'one a thought' });
  const logps = variable(flatten('logps', inputs.logps, mask));
  const advantages = new Float64Array(rows.size);
  for (let r = 0; r < rows.count; r++) advantages.fill(inputs.advantages[r], rows.offsets[r], rows.offsets[r + 1]);
  const { loss, clipped } = thoughtTerms(
    { logps, oldLogps: inputs.oldLogps === undefined ? null : flatten('oldLogps', inputs.oldLogps, mask), advantages, rows, normalizer: inputs.normalizer ?? { tokens: rows.size, sequences: rows.count } },
    options,
  );
  return { loss: loss.item(), grads: { logps: unflatten(gradients(loss, [logps])[0], mask) }, metrics: { clip_ratio: clipped.reduce((a, b) => a + b, 0) / Math.max(rows.size, 1) } };
}
