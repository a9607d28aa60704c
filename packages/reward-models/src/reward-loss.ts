import { add, div, gradients, logsigmoid, mul, neg, square, sub, sum, variable, type Vector } from '@espalier/objectives';
import { EspalierError, type MetricSums } from '@espalier/spec';

/** Options of {@link rewardLoss}, by TRL's names and with its defaults. */
export interface RewardLossOptions {
  /** Weight of mean (r_chosen + r_rejected)², which pulls rewards to mean zero (2312.09244 eq. 2; 0.01 is usual). `null`: none. Default `null`. */
  centerRewardsCoefficient?: number | null;
}

/** The numbers of some pairs, one of each a pair. */
export interface RewardTerms {
  chosen: Vector; // [P]
  rejected: Vector; // [P]
  /** By how much the chosen reward should be ahead. Default 0. */
  margins?: ArrayLike<number>;
  /** Probability that `chosen` is the better one. Default 1. */
  labels?: ArrayLike<number>;
  /** Pairs of the whole optimiser step. */
  pairs: number;
}

/** @throws EspalierError `bad_config` */
export function resolveRewardOptions({ centerRewardsCoefficient = null }: RewardLossOptions): { centerRewardsCoefficient: number | null } {
  if (centerRewardsCoefficient !== null && !(centerRewardsCoefficient >= 0 && Number.isFinite(centerRewardsCoefficient))) {
    throw new EspalierError('bad_config', `\`center_rewards_coefficient\` is ${centerRewardsCoefficient}`, { fix: 'a number from 0; 0.01 is usual' });
  }
  return { centerRewardsCoefficient };
}

/**
 * Bradley and Terry's likelihood of the preferences on the tape, as in TRL: −log σ(r_c − r_r − margin), and with soft labels p the cross-entropy
 * −p log σ(d) − (1 − p) log σ(−d) of d = r_c − r_r − margin (RLAIF, 2309.00267). {@link rewardLoss} and `rewardObjective` are both this formula.
 */
export function rewardTerms({ chosen, rejected, margins, labels, pairs }: RewardTerms, options: RewardLossOptions): { loss: Vector; metrics: MetricSums } {
  const { centerRewardsCoefficient } = resolveRewardOptions(options);
  const ahead = sub(sub(chosen, rejected), margins ?? 0);
  const soft = labels && Float64Array.from(labels);
  const each = soft ? neg(add(mul(soft, logsigmoid(ahead)), mul(soft.map((p) => 1 - p), logsigmoid(neg(ahead))))) : neg(logsigmoid(ahead)); // prettier-ignore
  const preference = div(sum(each), Math.max(pairs, 1));
  const loss = centerRewardsCoefficient === null ? preference : add(preference, mul(centerRewardsCoefficient, div(sum(square(add(chosen, rejected))), Math.max(pairs, 1))));
  return { loss, metrics: rewardMetrics(chosen.values, rejected.values, soft) };
}

/**
 * TRL's: `accuracy` (a tie is wrong), `margin` (without the wanted one), and `min_reward`, `mean_reward`, `max_reward` of the batch. With soft labels the
 * better one is the likelier, and pairs of even odds do not count to the accuracy.
 */
function rewardMetrics(chosen: Float64Array, rejected: Float64Array, labels: Float64Array | undefined): MetricSums {
  const n = chosen.length;
  if (n === 0) return {};
  let [right, decided, margin, total] = [0, 0, 0, 0];
  let [lowest, highest] = [Infinity, -Infinity];
  for (let p = 0; p < n; p++) {
    const label = labels ? labels[p] : 1;
    if (label !== 0.5) {
      decided++;
      right += Number(label > 0.5 ? chosen[p] > rejected[p] : rejected[p] > chosen[p]);
    }
    margin += chosen[p] - rejected[p];
    total += chosen[p] + rejected[p];
    lowest = Math.min(lowest, chosen[p], rejected[p]);
    highest = Math.max(highest, chosen[p], rejected[p]);
  }
  return {
    ...(decided > 0 && { accuracy: { sum: right, weight: decided } }),
    margin: { sum: margin, weight: n },
    min_reward: { sum: lowest, weight: 1 },
    mean_reward: { sum: total, weight: 2 * n },
    max_reward: { sum: highest, weight: 1 },
  };
}

export interface RewardLossResult {
  loss: number;
  /** d loss / d reward. */
  grads: { chosenRewards: number[]; rejectedRewards: number[] };
  metrics: Record<string, number>;
}

/**
 * The loss of a reward model on pairs, in float64, with its derivative: TRL's `RewardTrainer` with margins and centering, and soft labels besides.
 *
 * @param inputs.chosenRewards one a pair; `rejectedRewards` likewise
 * @param inputs.margins by how much the chosen one should be ahead. Default 0
 * @param inputs.labels probability that the chosen one is better, for preferences with doubts. Default 1
 * @throws EspalierError `bad_data` when lengths differ, there is no pair, a number is not finite or a label is outside 0 … 1; `bad_config`
 *
 * @example
 * rewardLoss({ chosenRewards: [1.5], rejectedRewards: [0.5], margins: [0.3] }).loss; // 0.4031…
 */
export function rewardLoss(inputs: { chosenRewards: readonly number[]; rejectedRewards: readonly number[]; margins?: readonly number[]; labels?: readonly number[] }, options: RewardLossOptions = {}): RewardLossResult {
  const { margins, labels } = inputs;
  const pairs = inputs.chosenRewards.length;
  if (pairs === 0) throw new EspalierError('bad_data', '`chosenRewards` is empty', { fix: 'at least one pair' });
  for (const name of ['chosenRewards', 'rejectedRewards', 'margins', 'labels'] as const) checkNumbers(name, inputs[name], pairs);
  const bad = labels?.findIndex((label) => label < 0 || label > 1) ?? -1;
  if (bad >= 0) throw new EspalierError('bad_data', `labels[${bad}] is ${labels![bad]}`, { fix: 'a probability, from 0 to 1' });
  const [chosen, rejected] = [variable(inputs.chosenRewards), variable(inputs.rejectedRewards)];
  const { loss, metrics } = rewardTerms({ chosen, rejected, margins, labels, pairs }, options);
  const [byChosen, byRejected] = gradients(loss, [chosen, rejected]);
  return { loss: loss.item(), grads: { chosenRewards: [...byChosen], rejectedRewards: [...byRejected] }, metrics: averaged(metrics) };
}

/** @throws EspalierError `bad_data` */
export function checkNumbers(name: string, values: readonly number[] | undefined, count: number): void {
  if (!values) return;
  if (values.length !== count) throw new EspalierError('bad_data', `\`${name}\` has ${values.length} entries for ${count}`, { fix: 'as many of each' });
  const at = values.findIndex((value) => !Number.isFinite(value));
  if (at >= 0) throw new EspalierError('bad_data', `${name}[${at}] is ${values[at]}`, { fix: 'finite numbers' });
}

export const averaged = (metrics: MetricSums): Record<string, number> => Object.fromEntries(Object.entries(metrics).map(([name, { sum: total, weight }]) => [name, total / weight]));

/** A score as a probability: 1 / (1 + e^{−x}), without overflow. */
export const sigmoidOf = (x: number): number => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x)));

