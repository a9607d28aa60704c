import { constant, div, exp, flatten, gradients, max, mul, neg, nestedMask, softplus, stopGradient, sub, sum, unflatten, variable, type Nested, type Normalizer, type Vector, type VectorLike } from '@espalier/objectives';
import { EspalierError } from '@espalier/spec';

export interface GoldLossOptions {
  /** Weigh tokens; without it the loss is cross-entropy. Default true. */
  gold?: boolean;
  /** Default 0.5. */
  power?: number;
  /** Least weight of a token. Default 0.05. */
  floor?: number;
}

/** sg(max(p^power, floor)): what the model is sure of counts more. [A] */
export function goldWeights(logps: VectorLike, options: GoldLossOptions = {}): Vector {
  const { gold = true, power = 0.5, floor = 0.05 } = options;
  const p = constant(logps);
  return gold ? stopGradient(max(exp(mul(p, power)), floor)) : constant(new Float64Array(p.size).fill(1));
}

/**
 * GOLD as AlphaCode has it (Li et al. 2022, 2203.07814, §C.3, after Pang and He 2021): −Σ_t w_t log p_t / tokens, w_t = max(p_t^½, 0.05) as a constant. The model
 * is to be right in one way, not to cover all: precision over recall.
 * @param trained [A] 1 for tokens that count
 */
export function goldTerms(logps: Vector, trained: VectorLike, normalizer: Normalizer, options: GoldLossOptions = {}): Vector {
  return div(sum(mul(mul(neg(logps), goldWeights(logps, options)), trained)), Math.max(normalizer.tokens, 1));
}

/** Cross-entropy of saying from one number whether a solution is correct, as a mean over the solutions of the step: softplus(s) − y · s. [S] */
export function valueTerms(scores: Vector, correct: VectorLike, normalizer: Normalizer): Vector {
  return div(sum(sub(softplus(scores), mul(scores, correct))), Math.max(normalizer.sequences, 1));
}

export interface GoldLossResult {
  loss: number;
  /** d loss / d logps, 0 where the mask is 0. */
  grads: { logps: number[][] };
  metrics: { nll: number; gold_weight: number };
}

/**
 * {@link goldTerms} on plain numbers, in float64, with its derivative.
 *
 * @param inputs.logps log-prob (nats) of each token, of tempered logits where training tempers them; a row a solution
 * @param inputs.mask 1 where a token counts. Default: all
 * @param inputs.normalizer counts of the whole optimiser step when these rows are a part of it
 * @throws EspalierError `bad_data` when shapes differ or an entry that counts is not finite; `bad_config` for a floor outside 0 … 1
 *
 * @example
 * goldLoss({ logps: [[Math.log(0.25)]] }).grads.logps; // [[-0.5]]: 0.25^½
 */
export function goldLoss(inputs: { logps: Nested; mask?: Nested; normalizer?: Normalizer }, options: GoldLossOptions = {}): GoldLossResult {
  const { floor = 0.05, power = 0.5 } = options;
  if (!(floor >= 0 && floor <= 1) || !(power >= 0)) throw new EspalierError('bad_config', `\`gold_floor\` is ${floor} and \`gold_power\` ${power}`, { fix: 'a floor from 0 to 1, a power from 0' });
  const mask = nestedMask('logps', inputs.logps, inputs.mask);
  const logps = variable(flatten('logps', inputs.logps, mask));
  const loss = goldTerms(logps, new Float64Array(mask.rows.size).fill(1), inputs.normalizer ?? { tokens: mask.rows.size, sequences: mask.rows.count }, options);
  const count = Math.max(mask.rows.size, 1);
  return {
    loss: loss.item(),
    grads: { logps: unflatten(gradients(loss, [logps])[0], mask) },
    metrics: { nll: -sum(logps).item() / count, gold_weight: sum(goldWeights(logps, options)).item() / count },
  };
}
