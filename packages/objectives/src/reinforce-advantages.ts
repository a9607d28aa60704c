import { EspalierError } from '@espalier/spec';
import { groupRanges, type GroupSizes } from './advantages';
import type { Nested } from './nested';
import { nanMean } from './statistics';

/** Least variance by which advantages are divided (OpenRLHF). */
const leastVariance = 1e-8;

export interface ReinforcePlusPlusInputs {
  /** One a completion; null and NaN: nothing could score it. [B] */
  rewards: readonly (number | null)[];
  /** Estimates of KL(π ‖ π_ref) at each token, k1 as a rule: log π − log π_ref. Default: none, and `lengths` or `mask` says how long completions are. Rows [B][T] */
  kl?: Nested;
  /** 1 for a token that is trained on. Default: all of `kl`'s. */
  mask?: Nested;
  /** Tokens of each completion, when neither `kl` nor `mask` is given. [B] */
  lengths?: readonly number[];
}

export interface ReinforcePlusPlusOptions {
  /** Weight of the KL penalty on each token's reward. Default 0. */
  beta?: number;
  /** Discount of later rewards. Default 1. */
  gamma?: number;
  /** Completions of a group, for `baseline`; neighbours. */
  numGenerations?: number;
  groupSizes?: readonly number[];
  /** Take the mean reward of the group off first (REINFORCE++-baseline). Default false. */
  baseline?: boolean;
  /** Whiten over all tokens of the batch. Default true. */
  normalize?: boolean;
}

/**
 * Advantages of REINFORCE++: the return of each token, whitened over all tokens of the batch rather than of a group.
 *
 * r_t = −β·kl_t, plus the completion's reward R at its last token (R − the group's mean with `baseline`); G_t = Σ_{s ≥ t} γ^{s−t} r_s;
 * A_t = (G_t − mean) / √max(var, 1e-8), mean and population variance over the tokens of all scored completions.
 *
 * A completion that nothing could score counts in no mean and gets 0; tokens with mask 0 get 0, carry no penalty, and take no place in the discount.
 *
 * @returns rows of the shape of `kl` or `mask`
 * @throws EspalierError `bad_data` for shapes that differ, numbers that are not finite, or no way to tell lengths; `bad_config` for `baseline` without groups
 * Source: Hu et al. (2501.03262) eq. 9–11; OpenRLHF `reinforce` and `reinforce_baseline`.
 *
 * @example
 * reinforcePlusPlusAdvantages({ rewards: [1, 0], lengths: [2, 2] }); // [[1, 1], [-1, -1]]
 */
export function reinforcePlusPlusAdvantages(inputs: ReinforcePlusPlusInputs, options: ReinforcePlusPlusOptions = {}): number[][] {
  const { beta = 0, gamma = 1, baseline = false, normalize = true } = options;
  const rewards = Float64Array.from(inputs.rewards, (r, i) => {
    if (r === Infinity || r === -Infinity) throw new EspalierError('bad_data', `the reward of completion ${i} is ${r}`, { fix: 'a finite number, or null where it does not apply' });
    return r ?? NaN;
  });
  if (!(gamma >= 0 && gamma <= 1)) throw new EspalierError('bad_config', `\`gamma\` is ${gamma}`, { fix: 'a number from 0 to 1' });
  const lengths = rowLengthsOf(inputs, rewards.length);
  const shaped = baseline ? lessGroupMean(rewards, groupSizes(options)) : rewards;

  const returns = lengths.map((length) => new Array<number>(length).fill(0));
  const kept: [number, number][] = []; // row and token of all that is trained on and scored
  lengths.forEach((length, i) => {
    if (Number.isNaN(shaped[i])) return;
    let next: number | null = null; // the return of the token after this one
    for (let t = length - 1; t >= 0; t--) {
      if (inputs.mask && !inputs.mask[i][t]) continue;
      const kl: number = inputs.kl?.[i][t] ?? 0;
      if (!Number.isFinite(kl)) throw new EspalierError('bad_data', `\`kl\`[${i}][${t}] is ${kl}`, { fix: 'a finite number' });
      next = -beta * kl + (next === null ? shaped[i] : gamma * next);
      returns[i][t] = next;
      kept.push([i, t]);
    }
  });
  if (!normalize || kept.length === 0) return returns;
  const mean = kept.reduce((sum, [i, t]) => sum + returns[i][t], 0) / kept.length;
  const variance = kept.reduce((sum, [i, t]) => sum + (returns[i][t] - mean) ** 2, 0) / kept.length;
  const scale = 1 / Math.sqrt(Math.max(variance, leastVariance));
  for (const [i, t] of kept) returns[i][t] = (returns[i][t] - mean) * scale;
  return returns;
}

function rowLengthsOf({ kl, mask, lengths }: ReinforcePlusPlusInputs, count: number): number[] {
  const source = lengths ?? (mask ?? kl)?.map((row) => row.length);
  if (!source) throw new EspalierError('bad_data', 'nothing says how many tokens a completion has', { fix: 'give `kl`, `mask` or `lengths`' });
  if (source.length !== count) throw new EspalierError('bad_data', `${count} rewards came with ${source.length} completions`, { fix: 'one reward a completion' });
  for (const [name, rows] of [['kl', kl], ['mask', mask]] as const) {
    if (!rows) continue;
    const wrong = source.findIndex((length, i) => rows[i]?.length !== length);
    if (rows.length !== count || wrong >= 0) throw new EspalierError('bad_data', `\`${name}\` ${wrong >= 0 ? `has ${rows[wrong]?.length ?? 0} numbers for completion ${wrong} of ${source[wrong]} tokens` : `has ${rows.length} rows for ${count} rewards`}`, { fix: 'a number a token' });
  }
  return [...source];
}

function groupSizes({ numGenerations, groupSizes: sizes }: ReinforcePlusPlusOptions): GroupSizes {
  if (sizes !== undefined) return { groupSizes: sizes };
  if (numGenerations !== undefined) return { numGenerations };
  throw new EspalierError('bad_config', '`baseline` takes the mean of a group off, and nothing says what a group is', { fix: 'give `numGenerations`' });
}

/** R less the mean of the scored rewards of its group. */
function lessGroupMean(rewards: Float64Array, sizes: GroupSizes): Float64Array {
  const shaped = rewards.slice();
  for (const [start, end] of groupRanges(rewards.length, sizes)) {
    const mean = nanMean(rewards.subarray(start, end));
    for (let i = start; i < end; i++) shaped[i] -= mean;
  }
  return shaped;
}
