import { add, div, exp, gradients, logsigmoid, mul, neg, square, sub, sum, where, type Vector } from '@espalier/objectives';
import { EspalierError, type MetricSums } from '@espalier/spec';
import { completions, perPair, type CompletionNumbers } from './completions';
import { preferenceMetrics } from './dpo-loss';
import { means } from './means';

export const cpoLossTypes = ['sigmoid', 'hinge', 'ipo', 'simpo', 'alphapo'] as const;
export type CPOLossType = (typeof cpoLossTypes)[number];

/** Options of the loss, by TRL's names and with its defaults. */
export interface CPOLossOptions {
  /** `ipo` and `simpo` take the mean log-prob of a token; `alphapo` is `simpo` with `cpoAlpha` 0. Default `sigmoid`. */
  lossType?: CPOLossType;
  /** Default 0.1. */
  beta?: number;
  /** Share of labels taken to be wrong; `hinge` and `ipo` ignore it. Default 0. */
  labelSmoothing?: number;
  /** Weight of the language-model loss on the chosen completions. Default 1. */
  cpoAlpha?: number;
  /** Margin of `simpo`. Default 0.5. */
  simpoGamma?: number;
  /** AlphaPO (2501.03884): the reward is (1 − p^−α)/α in place of log p. Default 0: log p. */
  alpha?: number;
}

/** @throws EspalierError `bad_config` */
export function resolveCPOOptions(options: CPOLossOptions): Required<CPOLossOptions> {
  const { lossType = 'sigmoid', beta = 0.1, labelSmoothing = 0, simpoGamma = 0.5, alpha = 0 } = options;
  if (!cpoLossTypes.includes(lossType)) throw new EspalierError('bad_config', `\`loss_type\` ${JSON.stringify(lossType)} is unknown`, { fix: `one of ${cpoLossTypes.join(', ')}` });
  if (!(beta > 0 && Number.isFinite(beta))) throw new EspalierError('bad_config', `\`beta\` is ${beta}`, { fix: 'a positive number' });
  if (!(labelSmoothing >= 0 && labelSmoothing < 1)) throw new EspalierError('bad_config', `\`label_smoothing\` is ${labelSmoothing}`, { fix: 'a number from 0 to 1' });
  const sugar = lossType === 'alphapo';
  return { lossType: sugar ? 'simpo' : lossType, beta, labelSmoothing, cpoAlpha: sugar ? 0 : (options.cpoAlpha ?? 1), simpoGamma, alpha };
}

/** Whether the loss takes the mean log-prob of a token in place of the sum. */
export const takesAverages = (lossType: CPOLossType): boolean => lossType !== 'sigmoid' && lossType !== 'hinge';

/** What the loss is computed from, on the tape. P pairs. */
export interface CPOTerms {
  /** Log-prob of each completion, or the mean over its tokens where {@link takesAverages}. [P] each */
  chosen: Vector;
  rejected: Vector;
  /** Σ log p over all chosen tokens; null: there is no language-model loss. A scalar. */
  chosenTotal: Vector | null;
  /** Of the whole optimiser step. */
  normalizer: { pairs: number; chosenTokens: number };
}

/** The loss on the tape: Σ over pairs / pairs of the step + cpo_alpha · NLL(chosen). {@link cpoLoss} and `cpoObjective` are both this. */
export function cpoTerms(terms: CPOTerms, given: CPOLossOptions): { loss: Vector; metrics: MetricSums } {
  const { lossType, beta, labelSmoothing, cpoAlpha, simpoGamma, alpha } = resolveCPOOptions(given);
  const reward = (logp: Vector) => (alpha === 0 ? logp : div(sub(1, exp(mul(-alpha, logp))), alpha)); // 2501.03884 eq. 9
  const [chosen, rejected] = [reward(terms.chosen), reward(terms.rejected)];
  const difference = sub(chosen, rejected);
  const smoothed = (margin: Vector) => add(mul(-(1 - labelSmoothing), logsigmoid(margin)), mul(-labelSmoothing, logsigmoid(neg(margin))));
  const losses = (): Vector => {
    switch (lossType) {
      case 'simpo': // 2405.14734 eq. 6
        return smoothed(mul(beta, sub(difference, simpoGamma / beta)));
      case 'hinge': {
        const slack = sub(1, mul(beta, difference));
        return where(slack.values.map((v) => Number(v > 0)), slack, 0);
      }
      case 'ipo':
        return square(sub(difference, 1 / (2 * beta)));
      default: // 2401.08417 eq. 3
        return smoothed(mul(beta, difference));
    }
  };
  const preference = div(sum(losses()), Math.max(terms.normalizer.pairs, 1));
  const metrics = preferenceMetrics(chosen.values.map((v) => beta * v), rejected.values.map((v) => beta * v), terms.chosen.values, terms.rejected.values);
  if (!terms.chosenTotal || cpoAlpha === 0) return { loss: preference, metrics };
  const nll = div(neg(terms.chosenTotal), Math.max(terms.normalizer.chosenTokens, 1));
  return { loss: add(preference, mul(cpoAlpha, nll)), metrics };
}

export interface CPOLossInputs {
  /** Log-prob (nats) of each completion: one number a pair, or the numbers of its tokens, a row a pair. */
  chosenLogps: CompletionNumbers;
  rejectedLogps: CompletionNumbers;
  /**
   * Tokens of each completion. With them log-probs are sums: `ipo` and `simpo` divide, and the language-model loss is added. Without them (and
   * without rows) log-probs are taken as they are, like TRL's `cpo_loss`, and the loss is the preference term alone.
   */
  chosenLengths?: ArrayLike<number>;
  rejectedLengths?: ArrayLike<number>;
}

export interface PairLossResult {
  loss: number;
  /** d loss / d each log-prob, in the shape it was given in. */
  grads: Record<'chosenLogps' | 'rejectedLogps', number[] | number[][]>;
  metrics: Record<string, number>;
}

/**
 * Contrastive preference optimisation, SimPO and AlphaPO: preferences without a reference, in float64, with the derivative (TRL: `CPOTrainer`).
 * Metrics: rewards and log-probs under TRL's names, and `nll_loss` where there is one.
 *
 * @throws EspalierError `bad_config` for an unknown option; `bad_data` when counts differ, a number is not finite, or one of the lengths is missing
 *
 * @example
 * cpoLoss({ chosenLogps: [-0.5], rejectedLogps: [-1.2] }, { lossType: 'simpo', beta: 2, simpoGamma: 0.5 }).loss; // 0.3411…
 */
export function cpoLoss(inputs: CPOLossInputs, options: CPOLossOptions = {}): PairLossResult {
  const { lossType, cpoAlpha } = resolveCPOOptions(options);
  const pair = readPair(inputs);
  const { chosen, rejected, lengths } = pair;
  const average = lengths !== null && takesAverages(lossType);
  const chosenTokens = lengths ? lengths.chosen.reduce((a, b) => a + b, 0) : 0;
  const chosenTotal = lengths ? sum(chosen.flat) : null;
  const { loss, metrics } = cpoTerms(
    {
      chosen: average ? chosen.averages(lengths.chosen) : chosen.sums(),
      rejected: average ? rejected.averages(lengths.rejected) : rejected.sums(),
      chosenTotal,
      normalizer: { pairs: pair.count, chosenTokens },
    },
    options,
  );
  const nll: Record<string, number> = chosenTotal && cpoAlpha !== 0 ? { nll_loss: -chosenTotal.item() / Math.max(chosenTokens, 1) } : {};
  return { ...finishPair(pair, loss), metrics: { ...means(metrics), ...nll } };
}

/** Two completions a pair, with their lengths where they are known. */
export function readPair(inputs: CPOLossInputs) {
  const count = inputs.chosenLogps.length;
  const chosen = completions('chosenLogps', inputs.chosenLogps, count);
  const rejected = completions('rejectedLogps', inputs.rejectedLogps, count);
  const lengthsOf = (name: 'chosenLengths' | 'rejectedLengths', known: number[] | null) => (inputs[name] ? perPair(name, inputs[name], count) : known);
  const [ofChosen, ofRejected] = [lengthsOf('chosenLengths', chosen.lengths), lengthsOf('rejectedLengths', rejected.lengths)];
  if ((ofChosen === null) !== (ofRejected === null)) throw new EspalierError('bad_data', `\`${ofChosen ? 'rejectedLengths' : 'chosenLengths'}\` is missing`, { fix: 'lengths of both, or of none' });
  return { count, chosen, rejected, lengths: ofChosen && ofRejected ? { chosen: ofChosen, rejected: ofRejected } : null };
}

/** The loss as a number, and its derivatives in the shape of the inputs. */
export function finishPair({ chosen, rejected }: ReturnType<typeof readPair>, loss: Vector): Pick<PairLossResult, 'loss' | 'grads'> {
  const [forChosen, forRejected] = gradients(loss, [chosen.flat, rejected.flat]);
  return { loss: loss.item(), grads: { chosenLogps: chosen.shaped(forChosen), rejectedLogps: rejected.shaped(forRejected) } };
}
