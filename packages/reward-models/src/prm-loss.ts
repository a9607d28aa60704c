import { add, div, gradients, logsigmoid, mul, neg, sum, variable, type Vector } from '@espalier/objectives';
import { EspalierError, type MetricSums } from '@espalier/spec';
import { averaged, checkNumbers } from './reward-loss';

/**
 * The cross-entropy of steps on the tape: −y log σ(s) − (1 − y) log σ(−s), mean over the labelled steps of the optimiser step. With s = z₁ − z₀ it is the
 * cross-entropy of TRL's two-label token classification: softmax(z)₁ = σ(z₁ − z₀).
 */
export function prmTerms(scores: Vector, labels: ArrayLike<number>, steps: number): { loss: Vector; metrics: MetricSums } {
  const good = Float64Array.from(labels);
  const each = neg(add(mul(good, logsigmoid(scores)), mul(good.map((y) => 1 - y), logsigmoid(neg(scores))))); // prettier-ignore
  const right = scores.values.reduce((n, score, i) => n + Number(score > 0 === good[i] > 0.5), 0);
  return { loss: div(sum(each), Math.max(steps, 1)), metrics: scores.size > 0 ? { accuracy: { sum: right, weight: scores.size } } : {} };
}

export interface PRMLossResult {
  loss: number;
  /** d loss / d score. */
  grads: { scores: number[] };
  /** `accuracy`: a score above 0 says that a step is right. */
  metrics: Record<string, number>;
}

/**
 * The loss of a process reward model, in float64, with its derivative (2211.14275, 2305.20050).
 * @param inputs.scores log-odds that a step is right, one a step
 * @param inputs.labels 1: right, 0: wrong; or a probability between
 * @throws EspalierError `bad_data` when lengths differ, there is no step, a number is not finite or a label is outside 0 … 1
 * @example
 * prmLoss({ scores: [2, -1], labels: [1, 0] }).loss; // 0.2201…
 */
export function prmLoss(inputs: { scores: readonly number[]; labels: readonly number[] }): PRMLossResult {
  const { labels } = inputs;
  if (inputs.scores.length === 0) throw new EspalierError('bad_data', '`scores` is empty', { fix: 'at least one step' });
  checkNumbers('scores', inputs.scores, inputs.scores.length);
  checkNumbers('labels', labels, inputs.scores.length);
  const bad = labels.findIndex((label) => label < 0 || label > 1);
  if (bad >= 0) throw new EspalierError('bad_data', `labels[${bad}] is ${labels[bad]}`, { fix: '1 for a right step, 0 for a wrong one, or a probability' });
  const scores = variable(inputs.scores);
  const { loss, metrics } = prmTerms(scores, labels, labels.length);
  return { loss: loss.item(), grads: { scores: [...gradients(loss, [scores])[0]] }, metrics: averaged(metrics) };
}
