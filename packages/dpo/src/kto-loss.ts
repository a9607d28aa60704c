import { add, constant, gradients, mul, sigmoid, sub, sum, div, type Vector } from '@espalier/objectives';
import { EspalierError, type MetricSums } from '@espalier/spec';
import { completions, perPair, type CompletionNumbers } from './completions';
import { means } from './means';

export const ktoLossTypes = ['kto', 'apo_zero_unpaired'] as const;
export type KTOLossType = (typeof ktoLossTypes)[number];

/** Options of the loss, by TRL's names and with its defaults. */
export interface KTOLossOptions {
  /** `kto` (2402.01306 eq. 7), or `apo_zero_unpaired` (2408.06266 eq. 7 a completion), which needs no KL. Default `kto`. */
  lossType?: KTOLossType;
  /** Default 0.1. */
  beta?: number;
  /** Weight of desirable completions. Default 1. */
  desirableWeight?: number;
  undesirableWeight?: number;
}

/** @throws EspalierError `bad_config` */
export function resolveKTOOptions(options: KTOLossOptions): Required<KTOLossOptions> {
  const { lossType = 'kto', beta = 0.1, desirableWeight = 1, undesirableWeight = 1 } = options;
  if (!ktoLossTypes.includes(lossType)) throw new EspalierError('bad_config', `\`loss_type\` ${JSON.stringify(lossType)} is unknown`, { fix: `one of ${ktoLossTypes.join(', ')}` });
  if (!(beta > 0 && Number.isFinite(beta))) throw new EspalierError('bad_config', `\`beta\` is ${beta}`, { fix: 'a positive number' });
  for (const [name, value] of [['desirable_weight', desirableWeight], ['undesirable_weight', undesirableWeight]] as const) {
    if (!(value >= 0 && Number.isFinite(value))) throw new EspalierError('bad_config', `\`${name}\` is ${value}`, { fix: 'a number from 0' });
  }
  return { lossType, beta, desirableWeight, undesirableWeight };
}

/** What the loss is computed from, on the tape. N completions. */
export interface KTOTerms {
  /** Σ log p over the completion. [N] each */
  logps: Vector;
  refLogps: Vector;
  /** 1: desirable. [N] */
  labels: ArrayLike<number>;
  /** z: the KL that rewards are measured from, a constant; one number, or one a completion. */
  kl: number | ArrayLike<number>;
  /** Completions of the whole optimiser step. */
  normalizer: number;
}

/**
 * The loss on the tape: desirable completions cost w_d · (1 − σ(β(x − z))), undesirable ones w_u · (1 − σ(β(z − x))), with x the log-ratio to the
 * reference (2402.01306 eq. 7). {@link ktoLoss} and `ktoObjective` are both this.
 */
export function ktoTerms(terms: KTOTerms, options: KTOLossOptions): { loss: Vector; metrics: MetricSums } {
  const { lossType, beta, desirableWeight, undesirableWeight } = resolveKTOOptions(options);
  const { labels } = terms;
  const ratios = sub(terms.logps, terms.refLogps); // [N]
  const sign = Array.from(labels, (label) => (label ? 1 : -1));
  const weight = Array.from(labels, (label) => (label ? desirableWeight : undesirableWeight));
  const zero = lossType === 'kto' ? constant(terms.kl) : constant(0);
  const losses = add(mul(sigmoid(mul(mul(beta, sub(ratios, zero)), sign)), -1), 1); // 1 − σ(±β(x − z))
  return { loss: div(sum(mul(losses, weight)), Math.max(terms.normalizer, 1)), metrics: ktoMetrics(ratios.values.map((x) => beta * x), terms.logps.values, labels) };
}

/** Rewards and log-probs by label under TRL's names; a margin where both labels are there. */
function ktoMetrics(rewards: Float64Array, logps: Float64Array, labels: ArrayLike<number>): MetricSums {
  const metrics: MetricSums = {};
  const mean: Record<string, number> = {};
  for (const [name, wanted] of [['chosen', true], ['rejected', false]] as const) {
    const which = Array.from(rewards.keys()).filter((i) => Boolean(labels[i]) === wanted);
    if (which.length === 0) continue;
    const total = (values: Float64Array) => which.reduce((sum, i) => sum + values[i], 0);
    metrics[`rewards/${name}`] = { sum: total(rewards), weight: which.length };
    metrics[`logps/${name}`] = { sum: total(logps), weight: which.length };
    mean[name] = total(rewards) / which.length;
  }
  if ('chosen' in mean && 'rejected' in mean) metrics['rewards/margins'] = { sum: mean.chosen - mean.rejected, weight: 1 };
  return metrics;
}

/** z of a batch (TRL): the mean log-ratio of completions that belong to other prompts, not below 0. 0 for none. */
export function klReference(klLogps: ArrayLike<number>, refKlLogps: ArrayLike<number>): number {
  const count = klLogps.length;
  return count === 0 ? 0 : Math.max(Array.from(klLogps).reduce((sum, logp, i) => sum + logp - refKlLogps[i], 0) / count, 0);
}

export interface KTOLossInputs {
  /** Log-prob (nats) of each completion: a sum over its tokens, or the numbers of its tokens as a row. [N] */
  logps: CompletionNumbers;
  refLogps: CompletionNumbers;
  /** Desirable or not. [N] */
  labels: ArrayLike<number | boolean>;
  /** The same for prompts with the completions of others, from which the KL is estimated; not for `apo_zero_unpaired`. */
  klLogps?: CompletionNumbers;
  refKlLogps?: CompletionNumbers;
}

export interface KTOLossResult {
  loss: number;
  /** d loss / d each log-prob, in the shape it was given in. The KL is a constant, as in TRL. */
  grads: Record<'logps' | 'refLogps', number[] | number[][]>;
  /** `kl`; `rewards/…` and `logps/…` of each label that is there; `rewards/margins` where both are. */
  metrics: Record<string, number>;
}

/**
 * Kahneman–Tversky optimisation from unpaired labels, in float64, with the derivative: TRL's `KTOTrainer` losses.
 *
 * @throws EspalierError `bad_config` for an unknown option; `bad_data` when counts differ, a number is not finite, or `kto` has no log-probs for its KL
 *
 * @example
 * ktoLoss({ logps: [-10, -15], refLogps: [-12, -14], labels: [true, false], klLogps: [-9, -9], refKlLogps: [-9.5, -9.5] }).loss; // 0.4625…
 */
export function ktoLoss(inputs: KTOLossInputs, options: KTOLossOptions = {}): KTOLossResult {
  const { lossType } = resolveKTOOptions(options);
  const count = inputs.logps.length;
  const logps = completions('logps', inputs.logps, count);
  const refLogps = completions('refLogps', inputs.refLogps, count);
  const labels = perPair('labels', Array.from(inputs.labels, Number), count);
  let kl = 0;
  if (lossType === 'kto') {
    if (!inputs.klLogps || !inputs.refKlLogps) throw new EspalierError('bad_data', '`loss_type` kto needs `klLogps` and `refKlLogps`', { fix: 'log-probs of prompts with the completions of others, or `loss_type` apo_zero_unpaired' });
    const size = inputs.klLogps.length;
    kl = klReference(completions('klLogps', inputs.klLogps, size).sums().values, completions('refKlLogps', inputs.refKlLogps, size).sums().values);
  }
  const { loss, metrics } = ktoTerms({ logps: logps.sums(), refLogps: refLogps.sums(), labels, kl, normalizer: count }, options);
  const [forLogps, forRefLogps] = gradients(loss, [logps.flat, refLogps.flat]);
  return { loss: loss.item(), grads: { logps: logps.shaped(forLogps), refLogps: refLogps.shaped(forRefLogps) }, metrics: { kl, ...means(metrics) } };
}
