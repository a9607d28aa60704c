import { add, clip, constant, div, exp, gather, logsigmoid, mul, neg, sigmoid, square, sub, sum, where, gradients, type Vector } from '@espalier/objectives';
import { EspalierError, type MetricSums } from '@espalier/spec';
import { completions, perPair, sharedLengthWeights, type CompletionNumbers } from './completions';
import { means } from './means';

/** TRL's loss types of DPO. */
export const dpoLossTypes = ['sigmoid', 'hinge', 'ipo', 'exo_pair', 'nca_pair', 'robust', 'bco_pair', 'sppo_hard', 'aot', 'aot_unpaired', 'apo_zero', 'apo_down', 'discopop', 'sft', 'sigmoid_norm'] as const;
export type DPOLossType = (typeof dpoLossTypes)[number];

export const fDivergenceTypes = ['reverse_kl', 'forward_kl', 'js_divergence', 'alpha_divergence'] as const;
export type FDivergenceType = (typeof fDivergenceTypes)[number];

/** Loss types on the difference of the two scores, where the f-divergence's β·log Z cancels: the others take the log-ratios alone. */
const ofDifference: readonly DPOLossType[] = ['sigmoid', 'sigmoid_norm', 'hinge', 'ipo', 'exo_pair', 'robust', 'discopop', 'sft'];

/** Options of the loss, by TRL's names and with its defaults. */
export interface DPOLossOptions {
  /** One loss, or several that are added with `lossWeights` (MPO). Default `sigmoid`. */
  lossType?: DPOLossType | readonly DPOLossType[];
  /** One a loss type. Default: all 1. */
  lossWeights?: readonly number[] | null;
  /** Strength of the tie to the reference; for `ipo` its τ. Default 0.1. */
  beta?: number;
  /** Of `robust` (share of flipped labels, below 0.5), `exo_pair` (above 0), `aot`, `aot_unpaired`; the others ignore it. Default 0. */
  labelSmoothing?: number;
  /** Default `reverse_kl`. */
  fDivergenceType?: FDivergenceType;
  /** α of `alpha_divergence`. Default 0.5. */
  fAlphaDivergenceCoef?: number;
  /** LD-DPO (2409.06411): weight of the tokens beyond the shorter completion's length. Default: all weigh 1. */
  ldAlpha?: number | null;
  /** WPO (2406.11827): weigh a pair by how likely the policy is to have written it. Default false. */
  useWeighting?: boolean;
  /** Temperature of `discopop`. Default 0.05. */
  discopopTau?: number;
}

export interface ResolvedDPOOptions {
  lossTypes: readonly DPOLossType[];
  lossWeights: readonly number[];
  beta: number;
  labelSmoothing: number;
  fDivergenceType: FDivergenceType;
  fAlphaDivergenceCoef: number;
  ldAlpha: number | null;
  useWeighting: boolean;
  discopopTau: number;
}

const refuse = (message: string, fix: string) => new EspalierError('bad_config', message, { fix });

/**
 * The options with their defaults.
 * @throws EspalierError `bad_config` for what TRL refuses too: an unknown name, weights that do not match, an f-divergence or a weighting that a loss has no form for
 */
export function resolveDPOOptions(options: DPOLossOptions): ResolvedDPOOptions {
  const { lossType = 'sigmoid', beta = 0.1, labelSmoothing = 0, fDivergenceType = 'reverse_kl', fAlphaDivergenceCoef = 0.5, useWeighting = false, discopopTau = 0.05 } = options;
  const lossTypes = typeof lossType === 'string' ? [lossType] : lossType;
  const lossWeights = options.lossWeights ?? lossTypes.map(() => 1);
  const ldAlpha = options.ldAlpha ?? null;
  const unknown = lossTypes.find((name) => !dpoLossTypes.includes(name));
  if (unknown !== undefined || lossTypes.length === 0) throw refuse(`\`loss_type\` ${JSON.stringify(unknown ?? [])} is unknown`, `one or more of ${dpoLossTypes.join(', ')}`);
  if (lossWeights.length !== lossTypes.length) throw refuse(`\`loss_weights\` has ${lossWeights.length} entries for ${lossTypes.length} loss types`, 'one a loss type');
  if (!fDivergenceTypes.includes(fDivergenceType)) throw refuse(`\`f_divergence_type\` ${JSON.stringify(fDivergenceType)} is unknown`, `one of ${fDivergenceTypes.join(', ')}`);
  if (!(beta > 0 && Number.isFinite(beta))) throw refuse(`\`beta\` is ${beta}`, 'a positive number');
  if (ldAlpha !== null && !(ldAlpha >= 0 && ldAlpha <= 1)) throw refuse(`\`ld_alpha\` is ${ldAlpha}`, 'a number from 0 (tokens beyond the shared length do not count) to 1');
  if (!(discopopTau > 0)) throw refuse(`\`discopop_tau\` is ${discopopTau}`, 'a positive number');
  const plain = fDivergenceType === 'reverse_kl' ? undefined : lossTypes.find((name) => !ofDifference.includes(name));
  if (plain !== undefined) throw refuse(`\`f_divergence_type\` ${fDivergenceType} has no form for \`loss_type\` ${plain}`, `reverse_kl, or ${ofDifference.join(', ')}`);
  if (!(labelSmoothing >= 0 && labelSmoothing < 1)) throw refuse(`\`label_smoothing\` is ${labelSmoothing}`, 'a number from 0 to 1');
  if (lossTypes.includes('robust') && labelSmoothing >= 0.5) throw refuse(`\`label_smoothing\` is ${labelSmoothing}, and \`loss_type\` robust divides by 1 − 2·label_smoothing`, 'a number from 0 to below 0.5');
  if (lossTypes.includes('exo_pair') && labelSmoothing === 0) throw refuse('`label_smoothing` is 0, and `loss_type` exo_pair takes its logarithm', '1e-3, as the paper recommends');
  const whole = useWeighting ? lossTypes.find((name) => name === 'aot' || name === 'aot_unpaired' || name === 'sft') : undefined;
  if (whole !== undefined) throw refuse(`\`use_weighting\` weighs pairs, and \`loss_type\` ${whole} has no number a pair`, 'another loss type, or `use_weighting` false');
  return { lossTypes, lossWeights, beta, labelSmoothing, fDivergenceType, fAlphaDivergenceCoef, ldAlpha, useWeighting, discopopTau };
}

/** What the loss is computed from, on the tape. P pairs. */
export interface DPOTerms {
  /** Σ log p over the completion (with LD-DPO its weighted form). [P] each */
  chosen: Vector;
  rejected: Vector;
  refChosen: Vector;
  refRejected: Vector;
  /** Tokens of each completion; null when they are not known. [P] */
  chosenLengths: ArrayLike<number> | null;
  rejectedLengths: ArrayLike<number> | null;
  /** Σ log p over all chosen tokens, unweighted: what `sft` takes. A scalar. */
  chosenTotal: Vector;
  /** WPO's weight of each pair, a constant. [P] */
  weights: Vector | null;
  /** Probability that the chosen completion is the better one, of each pair: AI feedback's soft labels. Default: 1. [P] */
  softLabels?: ArrayLike<number> | null;
  /** Of the whole optimiser step. */
  normalizer: { pairs: number; chosenTokens: number };
}

/** f'(π/π_ref) as a function of x = log(π/π_ref): the score that stands for the reward (2309.16240, table 1). */
function score(x: Vector, options: ResolvedDPOOptions): Vector {
  const power = options.fAlphaDivergenceCoef - 1;
  switch (options.fDivergenceType) {
    case 'reverse_kl':
      return x;
    case 'forward_kl':
      return sub(1, exp(neg(x)));
    case 'js_divergence':
      return add(Math.LN2, logsigmoid(x));
    case 'alpha_divergence':
      // The limit α → 1 is reverse KL. The exponent is kept where e^x is a number, as in TRL.
      return Math.abs(power) < 1e-6 ? x : div(sub(exp(clip(mul(power, x), -Infinity, 80)), 1), power);
  }
}

/** The values in ascending order; each keeps its own gradient. */
const sorted = (x: Vector): Vector => gather(x, Array.from(x.values.keys()).sort((a, b) => x.values[a] - x.values[b]));

const smoothed = (margin: Vector, epsilon: number): Vector => add(mul(-(1 - epsilon), logsigmoid(margin)), mul(-epsilon, logsigmoid(neg(margin))));

/** Cross-entropy of the Bradley–Terry probability σ(margin) with the label: −p·log σ(margin) − (1−p)·log σ(−margin). Without labels p is 1. */
function labelled(margin: Vector, labels: ArrayLike<number> | null | undefined): Vector {
  if (!labels) return neg(logsigmoid(margin));
  const p = Array.from(labels);
  return neg(add(mul(p, logsigmoid(margin)), mul(p.map((label) => 1 - label), logsigmoid(neg(margin)))));
}

/** Loss types that have a form for soft labels. */
const ofSoftLabels: readonly DPOLossType[] = ['sigmoid', 'sigmoid_norm', 'sft'];

function byLength(x: Vector, lengths: ArrayLike<number> | null, lossType: DPOLossType): Vector {
  if (!lengths) throw new EspalierError('bad_data', `\`loss_type\` ${lossType} divides by the lengths of the completions, which were not given`, { fix: '`chosenLengths` and `rejectedLengths`' });
  return div(x, Array.from(lengths, (length) => Math.max(length, 1)));
}

/** The loss of each pair. [P] (`sft` is not of pairs.) */
function pairLosses(lossType: Exclude<DPOLossType, 'sft'>, terms: DPOTerms, options: ResolvedDPOOptions): Vector {
  const { beta, labelSmoothing: epsilon } = options;
  const c = sub(terms.chosen, terms.refChosen); // log-ratios [P]
  const r = sub(terms.rejected, terms.refRejected);
  const scores = () => [score(c, options), score(r, options)] as const;
  const margin = () => mul(beta, sub(...scores())); // βd
  const marginByLength = () => sub(byLength(scores()[0], terms.chosenLengths, lossType), byLength(scores()[1], terms.rejectedLengths, lossType));
  switch (lossType) {
    case 'sigmoid': // 2305.18290 eq. 7
      return labelled(margin(), terms.softLabels);
    case 'hinge': { // 2309.06657
      const slack = sub(1, margin());
      return where(slack.values.map((v) => Number(v > 0)), slack, 0);
    }
    case 'ipo': // 2310.12036 eq. 17, a mean over tokens, as its authors confirmed to TRL's
      return square(sub(marginByLength(), 1 / (2 * beta)));
    case 'exo_pair': { // 2402.00856 eq. 16
      const d = margin();
      const forChosen = mul(sigmoid(d), sub(logsigmoid(d), Math.log1p(-epsilon)));
      return add(forChosen, mul(sigmoid(neg(d)), sub(logsigmoid(neg(d)), Math.log(epsilon))));
    }
    case 'nca_pair': // 2402.05369
      return add(neg(logsigmoid(mul(beta, c))), mul(-0.5, add(logsigmoid(mul(-beta, c)), logsigmoid(mul(-beta, r)))));
    case 'robust': // 2403.00409
      return div(add(mul(-(1 - epsilon), logsigmoid(margin())), mul(epsilon, logsigmoid(neg(margin())))), 1 - 2 * epsilon);
    case 'bco_pair': // 2404.04656, without its running shift
      return neg(add(logsigmoid(mul(beta, c)), logsigmoid(mul(-beta, r))));
    case 'sppo_hard': // 2405.00675 eq. 4.7 with certain preferences
      return add(square(sub(c, 0.5 / beta)), square(add(r, 0.5 / beta)));
    case 'aot': // 2406.05882: order statistics of policy and reference margins
      return smoothed(mul(beta, sub(sorted(sub(terms.chosen, terms.rejected)), sorted(sub(terms.refChosen, terms.refRejected)))), epsilon);
    case 'aot_unpaired':
      return smoothed(mul(beta, sub(sorted(c), sorted(r))), epsilon);
    case 'apo_zero': // 2408.06266 eq. 7
      return add(sub(1, sigmoid(mul(beta, c))), sigmoid(mul(beta, r)));
    case 'apo_down': // 2408.06266 eq. 8
      return add(sigmoid(mul(beta, c)), sub(1, sigmoid(mul(beta, sub(c, r)))));
    case 'discopop': { // 2406.08414 eq. 5
      const d = margin();
      const mix = sigmoid(div(d, options.discopopTau));
      return add(mul(neg(logsigmoid(d)), sub(1, mix)), mul(exp(neg(d)), mix));
    }
    case 'sigmoid_norm':
      return labelled(mul(beta, marginByLength()), terms.softLabels);
  }
}

/**
 * The preference loss on the tape: Σ_k w_k · (Σ over pairs of loss k) / pairs of the step. {@link dpoLoss} and `dpoObjective` are both this.
 * @returns `metrics` by TRL's names: rewards are β times the raw log-ratio whatever the f-divergence
 */
export function dpoTerms(terms: DPOTerms, given: DPOLossOptions): { loss: Vector; metrics: MetricSums } {
  const options = resolveDPOOptions(given);
  const hard = terms.softLabels ? options.lossTypes.find((name) => !ofSoftLabels.includes(name)) : undefined;
  if (hard !== undefined) throw refuse(`\`loss_type\` ${hard} has no form for soft labels`, 'sigmoid or sigmoid_norm; or rows without `soft_label`');
  const pairs = Math.max(terms.normalizer.pairs, 1);
  const parts = options.lossTypes.map((lossType, k) => {
    if (lossType === 'sft') return mul(options.lossWeights[k], div(neg(terms.chosenTotal), Math.max(terms.normalizer.chosenTokens, 1)));
    const losses = pairLosses(lossType, terms, options);
    return mul(options.lossWeights[k], div(sum(terms.weights ? mul(losses, terms.weights) : losses), pairs));
  });
  const rewards = (x: Vector, reference: Vector) => x.values.map((v, i) => options.beta * (v - reference.values[i]));
  return {
    loss: parts.reduce((total, part) => add(total, part)),
    metrics: preferenceMetrics(rewards(terms.chosen, terms.refChosen), rewards(terms.rejected, terms.refRejected), terms.chosen.values, terms.rejected.values),
  };
}

/** Rewards and log-probs of pairs under TRL's names. */
export function preferenceMetrics(chosenRewards: ArrayLike<number>, rejectedRewards: ArrayLike<number>, chosenLogps: ArrayLike<number>, rejectedLogps: ArrayLike<number>): MetricSums {
  const weight = chosenRewards.length;
  const total = (values: ArrayLike<number>) => ({ sum: Array.from(values).reduce((a, b) => a + b, 0), weight });
  const compare = (f: (chosen: number, rejected: number) => number) => total(Array.from(chosenRewards, (chosen, i) => f(chosen, rejectedRewards[i])));
  return {
    'rewards/chosen': total(chosenRewards),
    'rewards/rejected': total(rejectedRewards),
    'rewards/accuracies': compare((chosen, rejected) => Number(chosen > rejected)),
    'rewards/margins': compare((chosen, rejected) => chosen - rejected),
    'logps/chosen': total(chosenLogps),
    'logps/rejected': total(rejectedLogps),
  };
}

/** WPO's weight of each pair, a constant: exp of the mean over tokens of log p − log Σ_v p_v², chosen times rejected (2406.11827 eq. 2). [P] */
export function pairWeights(chosenAligned: ArrayLike<number>, rejectedAligned: ArrayLike<number>): Vector {
  return constant(Array.from(chosenAligned, (mean, p) => Math.exp(mean + rejectedAligned[p])));
}

export interface DPOLossInputs {
  /** Log-prob (nats) of each completion: a sum over its tokens, one number a pair, or the numbers of its tokens, a row a pair. */
  chosenLogps: CompletionNumbers;
  rejectedLogps: CompletionNumbers;
  /** The same under the reference. */
  refChosenLogps: CompletionNumbers;
  refRejectedLogps: CompletionNumbers;
  /** Tokens of each completion; needed by `ipo`, `sigmoid_norm`, `sft` when log-probs are sums. [P] */
  chosenLengths?: ArrayLike<number>;
  rejectedLengths?: ArrayLike<number>;
  /** Σ_v p_v² under the policy at each token, a row a pair: what `useWeighting` needs besides the log-probs of the tokens. */
  chosenSumSquares?: readonly ArrayLike<number>[];
  rejectedSumSquares?: readonly ArrayLike<number>[];
}

type DPOGradient = 'chosenLogps' | 'rejectedLogps' | 'refChosenLogps' | 'refRejectedLogps';

export interface DPOLossResult {
  loss: number;
  /** d loss / d each log-prob, in the shape it was given in. WPO's weights are constants, as in TRL. */
  grads: Record<DPOGradient, number[] | number[][]>;
  metrics: Record<'rewards/chosen' | 'rewards/rejected' | 'rewards/accuracies' | 'rewards/margins' | 'logps/chosen' | 'logps/rejected', number>;
}

/**
 * Direct preference optimisation and its relatives, in float64, with the derivative: TRL's `DPOTrainer` losses.
 *
 * LD-DPO and WPO look at tokens: they need the log-probs of the policy as rows. Reference log-probs given as sums are taken as they are.
 *
 * @throws EspalierError `bad_config` as {@link resolveDPOOptions}; `bad_data` when lengths differ, a number is not finite, or an option needs what was not given
 *
 * @example
 * dpoLoss({ chosenLogps: [-10], rejectedLogps: [-15], refChosenLogps: [-12], refRejectedLogps: [-14] }, { beta: 0.1 }).loss; // 0.5543…
 */
export function dpoLoss(inputs: DPOLossInputs, options: DPOLossOptions = {}): DPOLossResult {
  const resolved = resolveDPOOptions(options);
  const pairs = inputs.chosenLogps.length;
  const read = (name: DPOGradient) => completions(name, inputs[name], pairs);
  const given = { chosenLogps: read('chosenLogps'), rejectedLogps: read('rejectedLogps'), refChosenLogps: read('refChosenLogps'), refRejectedLogps: read('refRejectedLogps') };
  const chosenLengths = inputs.chosenLengths ? perPair('chosenLengths', inputs.chosenLengths, pairs) : given.chosenLogps.lengths;
  const rejectedLengths = inputs.rejectedLengths ? perPair('rejectedLengths', inputs.rejectedLengths, pairs) : given.rejectedLogps.lengths;
  if (resolved.lossTypes.includes('sft') && !chosenLengths) throw new EspalierError('bad_data', '`loss_type` sft is a mean over tokens, and `chosenLengths` was not given', { fix: 'give it, or log-probs as rows of tokens' });

  const perToken = given.chosenLogps.lengths && given.rejectedLogps.lengths ? { chosen: given.chosenLogps.lengths, rejected: given.rejectedLogps.lengths } : null;
  if ((resolved.ldAlpha !== null || resolved.useWeighting) && !perToken) {
    throw new EspalierError('bad_data', `\`${resolved.useWeighting ? 'use_weighting' : 'ld_alpha'}\` looks at tokens, and the log-probs are sums`, { fix: '`chosenLogps` and `rejectedLogps` as rows, a number a token' });
  }
  const shared = resolved.ldAlpha === null ? null : perToken!.chosen.map((length, p) => Math.min(length, perToken!.rejected[p]));
  const sums = (name: DPOGradient) => given[name].sums(shared && sharedLengthWeights(given[name].rows, shared, resolved.ldAlpha!));
  const weights = resolved.useWeighting
    ? pairWeights(given.chosenLogps.alignedMeans('chosenSumSquares', inputs.chosenSumSquares), given.rejectedLogps.alignedMeans('rejectedSumSquares', inputs.rejectedSumSquares))
    : null;

  const { loss, metrics } = dpoTerms(
    {
      chosen: sums('chosenLogps'), rejected: sums('rejectedLogps'), refChosen: sums('refChosenLogps'), refRejected: sums('refRejectedLogps'),
      chosenLengths, rejectedLengths, weights,
      chosenTotal: sum(given.chosenLogps.flat),
      normalizer: { pairs, chosenTokens: chosenLengths ? Array.from(chosenLengths).reduce((a, b) => a + b, 0) : 0 },
    },
    options,
  );
  const names = Object.keys(given) as DPOGradient[];
  const slopes = gradients(loss, names.map((name) => given[name].flat));
  return {
    loss: loss.item(),
    grads: Object.fromEntries(names.map((name, i) => [name, given[name].shaped(slopes[i])])) as DPOLossResult['grads'],
    metrics: means(metrics) as DPOLossResult['metrics'],
  };
}

