import { EspalierError } from '@espalier/spec';
import { nanMean, nanStd } from './statistics';

export const scaleRewardsModes = ['group', 'batch', 'none'] as const;
export const multiObjectiveAggregations = ['sum_then_normalize', 'normalize_then_sum'] as const;
export type ScaleRewards = (typeof scaleRewardsModes)[number];
export type MultiObjectiveAggregation = (typeof multiObjectiveAggregations)[number];

/** One reward a completion, or one a completion and reward function; `null` and NaN: not applicable. */
export type RewardTable = readonly (number | null)[] | readonly (readonly (number | null)[])[];

/** Added to a standard deviation before it divides (TRL). */
const stdEpsilon = 1e-4;

/** How many completions each group has: all the same, or one number a group. */
export type GroupSizes = { numGenerations: number } | { groupSizes: readonly number[] };

/** The table as NaN-for-null rows of equal width, checked. */
function readTable(rewards: RewardTable): Float64Array[] {
  const rows: readonly (number | null | readonly (number | null)[])[] = rewards;
  const table = rows.map((row) => Float64Array.from(typeof row === 'object' && row !== null ? row : [row], (v) => v ?? NaN));
  const width = table[0]?.length ?? 0;
  table.forEach((row, i) => {
    if (row.length !== width) throw new EspalierError('bad_data', `completion ${i} has ${row.length} rewards, completion 0 has ${width}`, { fix: 'one a reward function, null where it does not apply' });
    const bad = row.findIndex((v) => v === Infinity || v === -Infinity);
    if (bad >= 0) throw new EspalierError('bad_data', `reward ${bad} of completion ${i} is ${row[bad]}`, { fix: 'a finite number, or null where it does not apply' });
  });
  return table;
}

/** Start and end of every group. @internal */
export function groupRanges(total: number, sizes: GroupSizes): [number, number][] {
  const lengths = 'groupSizes' in sizes ? sizes.groupSizes : Array.from({ length: Math.ceil(total / sizes.numGenerations) }, () => sizes.numGenerations);
  let start = 0;
  const ranges = lengths.map((length): [number, number] => [start, (start += length)]);
  if (start !== total || lengths.some((length) => !(length >= 1))) {
    throw new EspalierError('bad_data', `${total} rewards do not make whole groups of ${'groupSizes' in sizes ? lengths.join(', ') : sizes.numGenerations}`, { fix: 'num_generations rewards a group' });
  }
  return ranges;
}

/** Σ w·r over the functions that apply; NaN where none does. */
function weightedSum(row: Float64Array, weights: readonly number[]): number {
  let total = 0;
  let applied = 0;
  row.forEach((v, k) => {
    if (Number.isNaN(v)) return;
    total += v * weights[k];
    applied++;
  });
  return applied > 0 ? total : NaN;
}

export interface GroupAdvantages {
  /** What the loss uses; 0 for a completion that no function could score. [B] */
  advantages: Float64Array;
  /** The weighted sum of each completion; NaN for one that no function could score. [B] */
  rewards: Float64Array;
  /** Share of completions whose reward spread (of the group, or of the batch where that divides) is 0: they teach nothing. */
  fracRewardZeroStd: number;
  /** Completions that no function could score. */
  unscorable: number;
}

/**
 * Group-relative advantages: A = (R − mean of the group) / (std + 1e-4), with the Bessel-corrected std of the group (`'group'`), of the batch
 * (`'batch'`), or no division (`'none'`, Dr. GRPO).
 *
 * Several reward functions are summed with weights first (`'sum_then_normalize'`), or normalised one by one in their group, summed, and
 * normalised over the batch (`'normalize_then_sum'`, GDPO). A completion that no function could score counts in no mean and gets advantage 0,
 * as does one whose group has fewer than two scored members where the std divides.
 *
 * @param inputs.rewards [B], or [B][functions]; completions of a group are neighbours
 * @throws EspalierError `bad_data` when groups are not whole, rows are ragged or a reward is infinite; `bad_config` for unknown options
 * Source: DeepSeekMath (2402.03300) §4.1; TRL `_generate_and_score_completions`; GDPO (2601.05242).
 *
 * @example
 * groupAdvantages({ rewards: [1, 0, 0, 1] }, { numGenerations: 4 }).advantages; // ±0.8658…
 */
export function groupAdvantages(
  inputs: { rewards: RewardTable },
  options: GroupSizes & { scaleRewards?: ScaleRewards; rewardWeights?: readonly number[]; multiObjectiveAggregation?: MultiObjectiveAggregation },
): GroupAdvantages {
  const table = readTable(inputs.rewards);
  const width = table[0]?.length ?? 0;
  const weights = options.rewardWeights ?? new Array<number>(width).fill(1);
  if (weights.length !== width && table.length > 0) {
    throw new EspalierError('bad_config', `\`reward_weights\` has ${weights.length} entries for ${width} reward functions`, { fix: `${width} would do` });
  }
  const scale = options.scaleRewards ?? 'group';
  if (!scaleRewardsModes.includes(scale)) throw new EspalierError('bad_config', `\`scale_rewards\` ${JSON.stringify(scale)} is unknown`, { fix: `one of ${scaleRewardsModes.join(', ')}` });
  const aggregation = options.multiObjectiveAggregation ?? 'sum_then_normalize';
  if (!multiObjectiveAggregations.includes(aggregation)) {
    throw new EspalierError('bad_config', `\`multi_objective_aggregation\` ${JSON.stringify(aggregation)} is unknown`, { fix: `one of ${multiObjectiveAggregations.join(', ')}` });
  }
  const ranges = groupRanges(table.length, options);

  const rewards = Float64Array.from(table, (row) => weightedSum(row, weights)); // [B]
  const advantages = new Float64Array(rewards.length);
  const spread = new Float64Array(rewards.length); // the std that decides whether a completion teaches anything
  if (aggregation === 'sum_then_normalize') {
    const batchStd = rewards.length > 1 ? nanStd(rewards) : 0;
    for (const [start, end] of ranges) {
      const group = rewards.subarray(start, end);
      const mean = nanMean(group);
      const std = scale === 'batch' ? batchStd : group.length > 1 ? nanStd(group) : 0;
      for (let i = start; i < end; i++) {
        spread[i] = std;
        advantages[i] = scale === 'none' ? rewards[i] - mean : (rewards[i] - mean) / (std + stdEpsilon);
      }
    }
  } else {
    const normalized = table.map((row) => row.slice()); // [B][functions]
    for (const [start, end] of ranges) {
      for (let k = 0; k < width; k++) {
        const column = table.slice(start, end).map((row) => row[k]);
        const mean = nanMean(column);
        const std = column.length > 1 ? nanStd(column) : 0;
        for (let i = start; i < end; i++) normalized[i][k] = (table[i][k] - mean) / (std + stdEpsilon);
      }
    }
    // A function that scored one completion of a group alone says nothing about it (NaN), but the completion stays in the batch as 0.
    const summed = Float64Array.from(normalized, (row, i) => (Number.isNaN(rewards[i]) ? NaN : row.reduce((total, v, k) => (Number.isNaN(v) ? total : total + v * weights[k]), 0)));
    const mean = nanMean(summed);
    const std = summed.length > 1 ? nanStd(summed) : 0;
    spread.fill(std);
    summed.forEach((v, i) => (advantages[i] = (v - mean) / (std + stdEpsilon)));
  }
  let zero = 0;
  let unscorable = 0;
  for (let i = 0; i < advantages.length; i++) {
    if (Number.isNaN(advantages[i])) advantages[i] = 0;
    if (Math.abs(spread[i]) <= 1e-8) zero++;
    if (Number.isNaN(rewards[i])) unscorable++;
  }
  return { advantages, rewards, fracRewardZeroStd: advantages.length > 0 ? zero / advantages.length : 0, unscorable };
}

export interface LeaveOneOutOptions {
  /** (A − mean) / (std + 1e-4) over the batch. Default false. */
  normalizeAdvantages?: boolean;
  /** Rewards are limited to [low, high] before the penalty comes off. Default: not. */
  rewardClipRange?: readonly [number, number] | null;
  /** Weight of `kl`. Default 0. */
  beta?: number;
}

/**
 * Leave-one-out advantages (REINFORCE leave-one-out): each reward minus the mean of the other scored rewards of its group, where the reward of a completion is
 * clip(r) − β·kl. A completion without a reward, or alone in its group, gets 0.
 *
 * @param inputs.rewards one a completion; null and NaN: nothing could score it [B]
 * @param inputs.kl KL of each completion from the reference, summed over its tokens (k1: Σ log π_old − log π_ref) [B]
 * @throws EspalierError `bad_data` when groups are not whole, lengths differ or a number is infinite; `bad_config` for a range that is none
 * Source: Ahmadian et al. (2402.14740) eq. 8; TRL `RLOOTrainer`.
 *
 * @example
 * leaveOneOutAdvantages({ rewards: [1, 2, 3, 6] }, { numGenerations: 4 }); // [-2.666…, -1.333…, 0, 4]
 */
export function leaveOneOutAdvantages(inputs: { rewards: readonly (number | null)[]; kl?: ArrayLike<number> }, options: GroupSizes & LeaveOneOutOptions): Float64Array {
  const { beta = 0, rewardClipRange: range } = options;
  const { kl } = inputs;
  if (range && !(range[0] <= range[1])) throw new EspalierError('bad_config', `\`reward_clip_range\` is [${range.join(', ')}]`, { fix: 'the lower bound first' });
  if (kl && kl.length !== inputs.rewards.length) throw new EspalierError('bad_data', `\`kl\` has ${kl.length} numbers for ${inputs.rewards.length} rewards`, { fix: 'one a completion' });
  const rewards = Float64Array.from(readTable(inputs.rewards), ([reward], i) => {
    const penalty = beta === 0 || !kl ? 0 : beta * kl[i];
    if (!Number.isFinite(penalty)) throw new EspalierError('bad_data', `\`kl\`[${i}] is ${kl![i]}`, { fix: 'a finite number' });
    return (range ? Math.min(Math.max(reward, range[0]), range[1]) : reward) - penalty;
  });
  const advantages = new Float64Array(rewards.length).fill(NaN);
  for (const [start, end] of groupRanges(rewards.length, options)) {
    const scored = rewards.subarray(start, end).filter((v) => !Number.isNaN(v));
    const total = scored.reduce((a, b) => a + b, 0);
    for (let i = start; i < end; i++) if (scored.length > 1) advantages[i] = rewards[i] - (total - rewards[i]) / (scored.length - 1);
  }
  if (options.normalizeAdvantages) {
    const mean = nanMean(advantages);
    const std = nanStd(advantages);
    for (let i = 0; i < advantages.length; i++) advantages[i] = (advantages[i] - mean) / (std + stdEpsilon);
  }
  return advantages.map((v) => (Number.isNaN(v) ? 0 : v));
}
