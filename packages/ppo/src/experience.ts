import { gae, klEstimate, nanMean, nanStd, rowsOf, whitened } from '@espalier/objectives';
import type { Metrics, ScoredTrajectory, TokenBatch } from '@espalier/spec';
import type { PPOConfig } from './config';
import type { PackedRow } from './pack';
import { addMoments, momentsStd, type RunningMoments } from './running-moments';
import { rewardSum, type CompletionReward } from './token-rewards';

/** A packed trajectory with what it was given. */
export interface RewardedRow extends PackedRow {
  reward: CompletionReward;
}

/** What the models say of the actions of a batch. All [A]. */
export interface RolloutNumbers {
  oldLogps: Float32Array;
  /** Null: no divergence in the reward. */
  refLogps: Float32Array | null;
  /** V before each token. */
  values: Float32Array;
  /** V after each token; null: there is no state after the last one. */
  valuesAfter: Float32Array | null;
}

type ExperienceConfig = Pick<PPOConfig, 'klEstimator' | 'whitenRewards' | 'whitenAdvantages' | 'gamma' | 'lam' | 'missingEosPenalty' | 'useScoreScaling' | 'useScoreNorm' | 'scoreClip'>;

const endedByItself = ({ finishReason }: ScoredTrajectory) => finishReason === 'stop' || finishReason === 'turns';

/** Scaled by what was seen so far, this batch included; clipped; less the penalty for not ending. TRL 0.11's `score_scaling` and `score_clip`, TRL 1.9's penalty. */
function shapeRewards(rows: readonly RewardedRow[], config: ExperienceConfig, before: RunningMoments): { rewards: CompletionReward[]; moments: RunningMoments } {
  const moments = config.useScoreScaling ? addMoments(before, rows.map(({ reward }) => rewardSum(reward))) : before;
  const scale = config.useScoreScaling ? 1 / momentsStd(moments) : 1;
  const shift = config.useScoreNorm ? moments.mean : 0;
  const limit = config.scoreClip ?? Infinity;
  const clip = (v: number) => Math.min(Math.max(v, -limit), limit);
  const rewards = rows.map(({ trajectory, reward }): CompletionReward => {
    const penalty = config.missingEosPenalty !== undefined && !endedByItself(trajectory) ? config.missingEosPenalty : 0;
    return { score: clip((reward.score - shift) * scale) - penalty, perToken: reward.perToken?.map((v) => clip(v * scale)) ?? null };
  });
  return { rewards, moments };
}

/**
 * Scores and log-probs to token rewards, advantages and returns: steps 4 to 6 of TRL's `PPOTrainer` (1.9.0).
 *
 * A token's reward is −klCoef · KL_t (k1: log π_old − log π_ref; k3) and its share of the completion's reward; the score falls on the end: on the last token, or,
 * where the completion ended before its length limit and `valuesAfter` is given, on the state after it. Whitening rewards keeps their mean; returns are taken
 * before the advantages are whitened.
 *
 * Sets the columns `advantages`, `oldLogps`, `oldValues`, `returns`, `refLogps` where there is a reference, and where states after the end are trained `ended`
 * (1 at the last token of such a completion), `endValues`, `endReturns`.
 */
export function fillExperience(
  batch: TokenBatch,
  rows: readonly RewardedRow[],
  numbers: RolloutNumbers,
  state: { klCoef: number; moments: RunningMoments; maxCompletionLength: number },
  config: ExperienceConfig,
): { kl: number; moments: RunningMoments; advantages: Map<ScoredTrajectory, number>; metrics: Metrics } {
  const { oldLogps, refLogps, values, valuesAfter } = numbers;
  const { rewards: shaped, moments } = shapeRewards(rows, config, state.moments);
  const kl = refLogps ? klEstimate({ logps: oldLogps, refLogps }, { estimator: config.klEstimator }).values : new Float64Array(oldLogps.length);

  // Rows of states: the tokens of a completion, and the state after it where there is one.
  const hasEnd = rows.map(({ trajectory, start, end }) => valuesAfter !== null && endedByItself(trajectory) && end - start < state.maxCompletionLength);
  const states = rowsOf(rows.map(({ start, end }, r) => end - start + Number(hasEnd[r])));
  let tokenRewards: Float64Array = new Float64Array(states.size);
  const stateValues = new Float64Array(states.size);
  rows.forEach(({ start, end }, r) => {
    const first = states.offsets[r];
    for (let a = start; a < end; a++) {
      tokenRewards[first + a - start] = -state.klCoef * kl[a] + (shaped[r].perToken?.[a - start] ?? 0);
      stateValues[first + a - start] = values[a];
    }
    const last = states.offsets[r + 1] - 1;
    if (hasEnd[r]) stateValues[last] = valuesAfter![end - 1];
    tokenRewards[last] += shaped[r].score;
  });
  if (config.whitenRewards && states.size > 1) tokenRewards = whitened(tokenRewards, { shiftMean: false });
  const estimate = gae({ rewards: tokenRewards, values: stateValues, rows: states }, config);

  const count = oldLogps.length;
  let advantages: Float64Array = new Float64Array(count); // of tokens alone
  const returns = new Float32Array(count);
  rows.forEach(({ start, end }, r) => {
    for (let a = start; a < end; a++) {
      advantages[a] = estimate.advantages[states.offsets[r] + a - start];
      returns[a] = estimate.returns[states.offsets[r] + a - start];
    }
  });
  if (config.whitenAdvantages && count > 1) advantages = whitened(advantages);
  Object.assign(batch.columns, { advantages: Float32Array.from(advantages), oldLogps, oldValues: Float32Array.from(values), returns });
  if (refLogps) batch.columns.refLogps = refLogps;
  if (valuesAfter) {
    const [ended, endValues, endReturns] = [new Float32Array(count), new Float32Array(count), new Float32Array(count)];
    rows.forEach(({ end }, r) => {
      if (!hasEnd[r]) return;
      ended[end - 1] = 1;
      endValues[end - 1] = valuesAfter[end - 1];
      endReturns[end - 1] = estimate.returns[states.offsets[r + 1] - 1];
    });
    Object.assign(batch.columns, { ended, endValues, endReturns });
  }

  const perRow = (f: (a: number) => number) => rows.map(({ start, end }) => sumOver(start, end, f));
  const meanKl = nanMean(perRow((a) => kl[a]));
  const scores = nanMean(shaped.map(rewardSum));
  return {
    kl: meanKl,
    moments,
    advantages: new Map(rows.map(({ trajectory, start, end }) => [trajectory, sumOver(start, end, (a) => advantages[a]) / (end - start)])),
    metrics: {
      ...(refLogps ? { 'objective/kl': meanKl, 'objective/kl_coef': state.klCoef } : {}),
      'objective/entropy': nanMean(perRow((a) => -oldLogps[a])),
      'objective/non_score_reward': refLogps ? -state.klCoef * meanKl : 0,
      'objective/rlhf_reward': (refLogps ? -state.klCoef * meanKl : 0) + scores,
      'objective/scores': scores,
      'val/num_eos_tokens': rows.filter(({ trajectory }) => trajectory.finishReason === 'stop').length,
      'val/returns': nanMean(returns),
      ...(config.useScoreScaling ? { 'objective/score_scale': 1 / momentsStd(moments) } : {}),
    },
  };
}

function sumOver(start: number, end: number, f: (a: number) => number): number {
  let total = 0;
  for (let a = start; a < end; a++) total += f(a);
  return total;
}

/** Rewards as the reward functions gave them, and lengths, by TRL's names. What nothing scored is left out. */
export function rewardMetrics(trajectories: readonly ScoredTrajectory[], totals: readonly (number | null)[]): Metrics {
  const metrics: Metrics = {};
  const set = (name: string, value: number) => {
    if (!Number.isNaN(value)) metrics[name] = value;
  };
  const column = totals.map((total) => total ?? NaN);
  set('reward', nanMean(column));
  set('reward_std', nanStd(column));
  const unscorable = totals.filter((total) => total === null).length;
  if (unscorable > 0) metrics['rewards/unscorable'] = unscorable;
  for (const name of new Set(trajectories.flatMap(({ rewards }) => Object.keys(rewards)))) {
    const given = trajectories.map(({ rewards: { [name]: reward } }) => (reward === null || reward === undefined ? NaN : typeof reward === 'number' ? reward : reward.total));
    set(`rewards/${name}/mean`, nanMean(given));
    set(`rewards/${name}/std`, nanStd(given));
  }
  const lengths = trajectories.map(({ trainable }) => trainable.reduce((a, b) => a + b, 0));
  const truncated = trajectories.map(({ finishReason }) => finishReason === 'length' || finishReason === 'aborted');
  const ended = lengths.filter((_, i) => !truncated[i]);
  for (const [suffix, list] of [['length', lengths], ['terminated_length', ended]] as const) {
    metrics[`completions/mean_${suffix}`] = list.length > 0 ? nanMean(list) : 0;
    metrics[`completions/min_${suffix}`] = list.length > 0 ? Math.min(...list) : 0;
    metrics[`completions/max_${suffix}`] = list.length > 0 ? Math.max(...list) : 0;
  }
  metrics['completions/clipped_ratio'] = truncated.filter(Boolean).length / Math.max(truncated.length, 1);
  return metrics;
}
