import {
  add, clip, constant, exp, flatten, gradients, max, mul, neg, nestedMask, square, sub, sum, unflatten, variable, where,
  type Nested, type NestedMask, type Vector, type VectorLike,
} from '@espalier/objectives';
import { EspalierError } from '@espalier/spec';

export interface PPOPolicyLossOptions {
  /** Ratios are clipped to [1 − cliprange, 1 + cliprange]. Default 0.2. */
  cliprange?: number;
}

export interface PPOValueLossOptions {
  /** A value may move this far from the one of the rollout before it stops to gain. Default 0.2; Infinity: not clipped. */
  cliprangeValue?: number;
}

const defaults = { cliprange: 0.2, cliprangeValue: 0.2 };

/**
 * The clipped surrogate a token, on the tape: max(−A ρ, −A clip(ρ, 1 − ε, 1 + ε)) with ρ = π/π_old (1707.06347 eq. 7). All [A].
 * `clipped`: 1 where the clipped side is the larger one.
 */
export function policyTerms(terms: { logps: Vector; oldLogps: VectorLike; advantages: VectorLike }, options: PPOPolicyLossOptions = {}): { perToken: Vector; ratio: Vector; logRatio: Vector; clipped: Float64Array } {
  const cliprange = checked('cliprange', options.cliprange ?? defaults.cliprange);
  const logRatio = sub(terms.logps, terms.oldLogps);
  const ratio = exp(logRatio);
  const plain = neg(mul(terms.advantages, ratio));
  const bounded = neg(mul(terms.advantages, clip(ratio, 1 - cliprange, 1 + cliprange)));
  return { perToken: max(plain, bounded), ratio, logRatio, clipped: plain.values.map((v, i) => Number(bounded.values[i] > v)) };
}

/**
 * The clipped squared error of a value, on the tape: ½ max((V − R)², (clip(V, V_old ± ε) − R)²) (1506.02438; TRL's `cliprange_value`). All [A].
 * `clipped`: 1 where the clipped side is the larger one.
 */
export function valueTerms(terms: { values: Vector; oldValues: VectorLike; returns: VectorLike }, options: PPOValueLossOptions = {}): { perToken: Vector; clipped: Float64Array } {
  const cliprange = checked('cliprange_value', options.cliprangeValue ?? defaults.cliprangeValue);
  const old = constant(terms.oldValues);
  const plain = square(sub(terms.values, terms.returns));
  if (cliprange === Infinity) return { perToken: mul(plain, 0.5), clipped: new Float64Array(plain.size) };
  const above = terms.values.values.map((v, i) => Number(v > old.values[i] + cliprange));
  const below = terms.values.values.map((v, i) => Number(v < old.values[i] - cliprange));
  const near = where(above, add(old, cliprange), where(below, sub(old, cliprange), terms.values));
  const bounded = square(sub(near, terms.returns));
  return { perToken: mul(max(plain, bounded), 0.5), clipped: plain.values.map((v, i) => Number(bounded.values[i] > v)) };
}

function checked(name: string, value: number): number {
  if (!(value >= 0)) throw new EspalierError('bad_config', `\`${name}\` is ${String(value)}`, { fix: 'zero or a positive number' });
  return value;
}

/** Rows of completions, or the numbers of one completion. */
export type PerToken = Nested | ArrayLike<number>;

export interface PPOPolicyLossInputs {
  logps: PerToken;
  /** Log-probs of the policy that sampled. */
  oldLogps: PerToken;
  advantages: PerToken;
  /** 1 for a sampled token, 0 for padding or a tool's output. Default: all 1. */
  mask?: PerToken;
  /** Tokens of the whole optimiser step when these rows are a part of it. Default: the tokens of these rows. */
  normalizer?: { tokens: number };
}

export interface PPOPolicyLossResult {
  loss: number;
  /** d loss / d input, in the form in which the inputs came; entries with mask 0 are 0. */
  grads: { logps: number[][] | number[]; oldLogps: number[][] | number[]; advantages: number[][] | number[] };
  /** By TRL's names: `loss/policy_avg`, `policy/clipfrac_avg`, `policy/approxkl_avg`, `val/ratio`. */
  metrics: Record<string, number>;
}

/**
 * The policy loss of PPO in float64, with its derivatives: the mean over unmasked tokens of max(−A ρ, −A clip(ρ, 1 ± cliprange)).
 *
 * As in TRL, `policy/approxkl_avg` = ½ mean (log ρ)² and `val/ratio` = mean ρ are means over every entry given, where an entry with mask 0 counts as
 * ρ = 1: without padding they are means over the tokens.
 *
 * @throws EspalierError `bad_data` when shapes differ or an unmasked entry is not finite; `bad_config` for a negative `cliprange`
 * Source: Schulman et al. (1707.06347) eq. 7; TRL `PPOTrainer` (1.9.0).
 *
 * @example
 * const { loss, grads, metrics } = ppoPolicyLoss({ logps: [[-1, -2], [-0.5]], oldLogps: [[-1.1, -1.7], [-0.5]], advantages: [[1, 0.5], [-1]] }, { cliprange: 0.2 });
 */
export function ppoPolicyLoss(inputs: PPOPolicyLossInputs, options: PPOPolicyLossOptions = {}): PPOPolicyLossResult {
  const { mask, leaf, shaped } = readInputs('logps', inputs.logps, inputs.mask);
  const [logps, oldLogps, advantages] = [leaf('logps', inputs.logps), leaf('oldLogps', inputs.oldLogps), leaf('advantages', inputs.advantages)];
  const { perToken, ratio, logRatio, clipped } = policyTerms({ logps, oldLogps, advantages }, options);
  const count = Math.max(perToken.size, 1);
  const loss = mul(sum(perToken), 1 / Math.max(inputs.normalizer?.tokens ?? count, 1));
  const grads = gradients(loss, [logps, oldLogps, advantages]).map(shaped);
  const entries = Math.max(mask.widths.reduce((a, b) => a + b, 0), 1);
  return {
    loss: loss.item(),
    grads: { logps: grads[0], oldLogps: grads[1], advantages: grads[2] },
    metrics: {
      'loss/policy_avg': total(perToken.values) / count,
      'policy/clipfrac_avg': total(clipped) / count,
      'policy/approxkl_avg': (0.5 * total(logRatio.values.map((x) => x * x))) / entries,
      'val/ratio': (total(ratio.values) + entries - perToken.size) / entries,
    },
  };
}

export interface PPOValueLossInputs {
  values: PerToken;
  /** Values when the completions were sampled. */
  oldValues: PerToken;
  returns: PerToken;
  /** 1 where a value is trained, 0 for padding. Default: all 1. */
  mask?: PerToken;
  /** Values of the whole optimiser step when these rows are a part of it. Default: those of these rows. */
  normalizer?: { tokens: number };
}

export interface PPOValueLossResult {
  loss: number;
  /** d loss / d input, in the form in which the inputs came; entries with mask 0 are 0. */
  grads: { values: number[][] | number[]; oldValues: number[][] | number[]; returns: number[][] | number[] };
  /** By TRL's names: `loss/value_avg`, `val/clipfrac_avg`. */
  metrics: Record<string, number>;
}

/**
 * The value loss of PPO in float64, with its derivatives: half the mean over unmasked entries of max((V − R)², (clip(V, V_old ± cliprangeValue) − R)²),
 * not yet times `vfCoef`.
 *
 * @throws EspalierError `bad_data` when shapes differ or an unmasked entry is not finite; `bad_config` for a negative `cliprangeValue`
 * Source: TRL `PPOTrainer` (1.9.0).
 *
 * @example
 * const { loss, grads } = ppoValueLoss({ values: [[0.2, 0.5]], oldValues: [[0.1, 0.1]], returns: [[1, 0.4]] }, { cliprangeValue: 0.2 });
 */
export function ppoValueLoss(inputs: PPOValueLossInputs, options: PPOValueLossOptions = {}): PPOValueLossResult {
  const { leaf, shaped } = readInputs('values', inputs.values, inputs.mask);
  const [values, oldValues, returns] = [leaf('values', inputs.values), leaf('oldValues', inputs.oldValues), leaf('returns', inputs.returns)];
  // V_old is a variable here, and a constant in training
  const { perToken, clipped } = valueTerms({ values, oldValues, returns }, options);
  const count = Math.max(perToken.size, 1);
  const loss = mul(sum(perToken), 1 / Math.max(inputs.normalizer?.tokens ?? count, 1));
  const grads = gradients(loss, [values, oldValues, returns]).map(shaped);
  return { loss: loss.item(), grads: { values: grads[0], oldValues: grads[1], returns: grads[2] }, metrics: { 'loss/value_avg': total(perToken.values) / count, 'val/clipfrac_avg': total(clipped) / count } };
}

const total = (values: ArrayLike<number>) => Array.from(values).reduce((a, b) => a + b, 0);

/** The mask of the inputs, how to read one of them, and how to give a gradient the form in which the inputs came. */
function readInputs(name: string, values: PerToken, mask: PerToken | undefined): { mask: NestedMask; leaf: (name: string, values: PerToken) => Vector; shaped: (flat: Float64Array) => number[][] | number[] } {
  const kept = nestedMask(name, rowsOfInput(values), mask && rowsOfInput(mask));
  return {
    mask: kept,
    leaf: (what, input) => variable(flatten(what, rowsOfInput(input), kept)),
    shaped: (flat) => (isNested(values) ? unflatten(flat, kept) : unflatten(flat, kept)[0]),
  };
}

const isNested = (values: PerToken): values is Nested => Array.isArray(values) && (values.length === 0 || typeof values[0] === 'object');
const rowsOfInput = (values: PerToken): Nested => (isNested(values) ? values : [values]);
