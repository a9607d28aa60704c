import { constant, exp, flatten, gradients, mul, neg, nestedMask, stopGradient, sum, div, unflatten, variable, type Nested, type Normalizer, type Vector } from '@espalier/objectives';
import { EspalierError } from '@espalier/spec';

export const lossTypes = ['nll', 'dft'] as const;
export type LossType = (typeof lossTypes)[number];

/** Options of the loss, by TRL's names and with its defaults. */
export interface SFTLossOptions {
  /** `nll`, or `dft`: each token's loss weighted by its own probability, as a constant (2508.05629). Default `nll`. */
  lossType?: LossType;
}

/**
 * The supervised loss on the tape: Σ −logp / tokens of the optimiser step, each term times sg(p) for `dft` (2508.05629 eq. 9). {@link sftLoss} and
 * {@link sftObjective} are both this formula.
 * @param logps [A]
 */
export function sftTerms(logps: Vector, normalizer: Normalizer, options: SFTLossOptions): Vector {
  const lossType = options.lossType ?? 'nll';
  if (!lossTypes.includes(lossType)) throw new EspalierError('bad_config', `\`loss_type\` ${JSON.stringify(lossType)} is unknown`, { fix: `one of ${lossTypes.join(', ')}` });
  const perToken = lossType === 'dft' ? mul(neg(logps), stopGradient(exp(logps))) : neg(logps);
  return div(sum(perToken), Math.max(normalizer.tokens, 1));
}

export interface SFTLossResult {
  loss: number;
  /** d loss / d logps, 0 where the mask is 0. */
  grads: { logps: number[][] };
  /** `nll` and `perplexity` of the tokens that count, whatever the loss type. */
  metrics: { nll: number; perplexity: number; num_tokens: number };
}

/**
 * The loss of supervised fine-tuning and pre-training, in float64, with its derivative.
 *
 * @param inputs.logps log-prob (nats) of each token, a row a sequence
 * @param inputs.mask 1 where a token is trained on. Default: all
 * @param inputs.normalizer counts of the whole optimiser step when these rows are a part of it
 * @throws EspalierError `bad_data` when shapes differ or a counted entry is not finite; `bad_config` for an unknown loss type
 *
 * @example
 * sftLoss({ logps: [[-1, -2], [-0.5]] }).loss; // 1.1666…
 */
export function sftLoss(inputs: { logps: Nested; mask?: Nested; normalizer?: Normalizer }, options: SFTLossOptions = {}): SFTLossResult {
  const mask = nestedMask('logps', inputs.logps, inputs.mask);
  const logps = variable(flatten('logps', inputs.logps, mask));
  const loss = sftTerms(logps, inputs.normalizer ?? { tokens: mask.rows.size, sequences: mask.rows.count }, options);
  const nll = -sum(constant(logps.values)).item() / Math.max(mask.rows.size, 1);
  return {
    loss: loss.item(),
    grads: { logps: unflatten(gradients(loss, [logps])[0], mask) },
    metrics: { nll, perplexity: Math.exp(nll), num_tokens: mask.rows.size },
  };
}
