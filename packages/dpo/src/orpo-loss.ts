import { add, clip, div, gradients, log1mexp, logsigmoid, mul, neg, sub, sum, type Vector } from '@espalier/objectives';
import { EspalierError, type MetricSums } from '@espalier/spec';
import { completions, perPair, type CompletionNumbers } from './completions';
import { readPair, type CPOLossInputs, type PairLossResult } from './cpo-loss';
import { preferenceMetrics } from './dpo-loss';
import { means } from './means';

/** Options of the loss, by TRL's names and with its defaults. */
export interface ORPOLossOptions {
  /** Weight of the odds-ratio term: λ of the paper. Default 0.1. */
  beta?: number;
}

/** @throws EspalierError `bad_config` */
export function resolveORPOOptions({ beta = 0.1 }: ORPOLossOptions): Required<ORPOLossOptions> {
  if (!(beta >= 0 && Number.isFinite(beta))) throw new EspalierError('bad_config', `\`beta\` is ${beta}`, { fix: 'a number from 0' });
  return { beta };
}

/** What the loss is computed from, on the tape. P pairs. */
export interface ORPOTerms {
  /** Mean log-prob of a token of each completion. [P] each */
  chosen: Vector;
  rejected: Vector;
  /** Σ log p over prompt and chosen completion; null: there is no language-model loss. A scalar. */
  total: Vector | null;
  /** Of the whole optimiser step. */
  normalizer: { pairs: number; tokens: number };
}

/** A mean log-prob of 0 has infinite odds: it is taken as that of a probability just below 1. */
const closestToCertain = -1e-12;

/**
 * The loss on the tape: NLL(prompt and chosen) − β · mean log σ(log odds ratio) (2403.07691 eq. 6 and 7). {@link orpoLoss} and `orpoObjective` are
 * both this.
 */
export function orpoTerms(terms: ORPOTerms, options: ORPOLossOptions): { loss: Vector; metrics: MetricSums } {
  const { beta } = resolveORPOOptions(options);
  const chosen = clip(terms.chosen, -Infinity, closestToCertain);
  const rejected = clip(terms.rejected, -Infinity, closestToCertain);
  const logOdds = sub(sub(chosen, rejected), sub(log1mexp(chosen), log1mexp(rejected))); // [P]
  const ratio = logsigmoid(logOdds);
  const odds = div(mul(-beta, sum(ratio)), Math.max(terms.normalizer.pairs, 1));
  const scaled = (x: Vector) => x.values.map((v) => beta * v);
  const weight = ratio.size;
  const metrics: MetricSums = {
    ...preferenceMetrics(scaled(terms.chosen), scaled(terms.rejected), terms.chosen.values, terms.rejected.values),
    log_odds_ratio: { sum: sum(ratio).item(), weight },
    log_odds_chosen: { sum: sum(logOdds).item(), weight },
  };
  return { loss: terms.total ? add(div(neg(terms.total), Math.max(terms.normalizer.tokens, 1)), odds) : odds, metrics };
}

export interface ORPOLossInputs extends CPOLossInputs {
  /** Log-probs of the tokens of each prompt (its first token has none), as sums or as rows: TRL's language-model loss counts them too. */
  promptLogps?: CompletionNumbers;
  /** Tokens that `promptLogps` sums over. [P] */
  promptLengths?: ArrayLike<number>;
}

export interface ORPOLossResult extends PairLossResult {
  grads: PairLossResult['grads'] & { promptLogps?: number[] | number[][] };
}

/**
 * Odds-ratio preference optimisation: no reference, a language-model loss on what was chosen and the log odds ratio on top of it, in float64, with
 * the derivative (TRL: `ORPOTrainer`).
 *
 * With lengths (or rows of tokens), log-probs are sums and the loss is whole. Without, they are means over tokens, like those of TRL's
 * `odds_ratio_loss`, and the loss is the odds-ratio term alone.
 *
 * @throws EspalierError `bad_config` for a wrong option; `bad_data` when counts differ, a number is not finite or a mean log-prob above 0
 *
 * @example
 * orpoLoss({ chosenLogps: [-0.5], rejectedLogps: [-1.2] }, { beta: 0.1 }).metrics.log_odds_chosen; // 1.2743…
 */
export function orpoLoss(inputs: ORPOLossInputs, options: ORPOLossOptions = {}): ORPOLossResult {
  resolveORPOOptions(options);
  const { count, chosen, rejected, lengths } = readPair(inputs);
  const prompt = inputs.promptLogps ? completions('promptLogps', inputs.promptLogps, count) : null;
  const promptLengths = inputs.promptLengths ? perPair('promptLengths', inputs.promptLengths, count) : prompt?.lengths;
  if (prompt && (!promptLengths || !lengths)) throw new EspalierError('bad_data', '`promptLogps` came without lengths', { fix: '`promptLengths`, `chosenLengths` and `rejectedLengths`' });
  const tokens = [...(lengths?.chosen ?? []), ...(promptLengths ?? [])].reduce((a, b) => a + b, 0);
  const total = !lengths ? null : prompt ? add(sum(chosen.flat), sum(prompt.flat)) : sum(chosen.flat);
  const average = lengths ? { chosen: chosen.averages(lengths.chosen), rejected: rejected.averages(lengths.rejected) } : { chosen: chosen.sums(), rejected: rejected.sums() };
  for (const [name, vector] of Object.entries(average)) {
    const bad = vector.values.findIndex((v) => v > 0);
    if (bad >= 0) throw new EspalierError('bad_data', `the mean log-prob of ${name} completion ${bad} is ${vector.values[bad]}`, { fix: 'log-probs are not above 0' });
  }
  const { loss, metrics } = orpoTerms({ ...average, total, normalizer: { pairs: count, tokens } }, options);
  const [forChosen, forRejected, forPrompt] = gradients(loss, [chosen.flat, rejected.flat, ...(prompt ? [prompt.flat] : [])]);
  return {
    loss: loss.item(),
    grads: { chosenLogps: chosen.shaped(forChosen), rejectedLogps: rejected.shaped(forRejected), ...(prompt ? { promptLogps: prompt.shaped(forPrompt) } : {}) },
    metrics: { ...means(metrics), ...(total ? { nll_loss: -total.item() / Math.max(tokens, 1) } : {}) },
  };
}
