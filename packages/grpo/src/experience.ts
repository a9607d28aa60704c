import { groupAdvantages, nanMean, nanStd } from '@espalier/objectives';
import { EspalierError, type Metrics, type ScoredTrajectory, type TokenBatch } from '@espalier/spec';
import type { GRPOConfig } from './config';

export type Groups = readonly (readonly ScoredTrajectory[])[];

/** Which log-probs belong to which action of a batch: the trajectory and the token position in it. */
export interface ActionSource {
  trajectory: ScoredTrajectory;
  position: number;
}

const isTruncated = (trajectory: ScoredTrajectory) => trajectory.finishReason === 'length' || trajectory.finishReason === 'aborted';

/** The tokens before the first one that the policy sampled. */
function promptLength(trajectory: ScoredTrajectory): number {
  const first = trajectory.trainable.indexOf(1);
  return first < 0 ? trajectory.tokens.length : first;
}

/** How many leading tokens all trajectories of a group share, none of them sampled. */
function sharedLength(group: readonly ScoredTrajectory[]): number {
  let length = Math.min(...group.map(promptLength));
  for (const trajectory of group) {
    let same = 0;
    while (same < length && trajectory.tokens[same] === group[0].tokens[same]) same++;
    length = same;
  }
  return length;
}

/**
 * Packs groups into a batch: the prompt of each group is one sequence, every completion a sequence that continues it, and every sampled token
 * an action. Trajectories in `masked` are not trained on: they keep one token and no action, so that they still count as sequences.
 *
 * @returns the batch without columns, and where each action came from
 */
export function packGroups(groups: Groups, masked: (trajectory: ScoredTrajectory) => boolean): { batch: TokenBatch; actions: ActionSource[] } {
  const tokens: number[] = [];
  const offsets = [0];
  const prefixOf: number[] = [];
  const actionIndex: number[] = [];
  const actions: ActionSource[] = [];
  for (const group of groups) {
    const shared = sharedLength(group);
    const prefix = shared > 0 ? offsets.length - 1 : -1;
    if (shared > 0) {
      for (let t = 0; t < shared; t++) tokens.push(group[0].tokens[t]);
      offsets.push(tokens.length);
      prefixOf.push(-1);
    }
    for (const trajectory of group) {
      const skip = masked(trajectory);
      const end = skip ? Math.min(shared + 1, trajectory.tokens.length) : trajectory.tokens.length;
      if (end === shared) continue; // nothing was sampled: there is no sequence to speak of
      for (let t = shared; t < end; t++) {
        if (trajectory.trainable[t] && !skip) {
          if (t === 0) throw new EspalierError('bad_data', `trajectory ${trajectory.id} begins with a sampled token`, { fix: 'a prompt of at least one token' });
          actionIndex.push(tokens.length);
          actions.push({ trajectory, position: t });
        }
        tokens.push(trajectory.tokens[t]);
      }
      offsets.push(tokens.length);
      prefixOf.push(prefix);
    }
  }
  const batch: TokenBatch = {
    tokens: Int32Array.from(tokens),
    offsets: Int32Array.from(offsets),
    prefixOf: Int32Array.from(prefixOf),
    actionIndex: Int32Array.from(actionIndex),
    columns: {},
    normalizer: { tokens: actionIndex.length, sequences: groups.reduce((n, group) => n + group.length, 0) },
  };
  return { batch, actions };
}

/** The sampler's log-prob of each action; null when it lacks one. */
export function samplerLogps(actions: readonly ActionSource[]): Float32Array | null {
  const logps = Float32Array.from(actions, ({ trajectory, position }) => trajectory.samplerLogps?.[position] ?? NaN);
  return logps.some(Number.isNaN) ? null : logps;
}

/** Rewards as the estimators take them. */
export interface RewardMatrix {
  names: readonly string[];
  /** Weight of each function. */
  weights: readonly number[];
  /** A row a trajectory in the order of the groups, a column a function; null where it does not apply. */
  table: readonly (readonly (number | null)[])[];
  groupSizes: readonly number[];
}

/** What the reward functions gave, as a table. */
export function rewardMatrix(groups: Groups, weights: Readonly<Record<string, number>>): RewardMatrix {
  const trajectories = groups.flat();
  const names = [...new Set(trajectories.flatMap((trajectory) => Object.keys(trajectory.rewards)))];
  const table = trajectories.map((trajectory) =>
    names.map((name) => {
      const reward = trajectory.rewards[name] ?? null;
      return reward === null ? null : typeof reward === 'number' ? reward : reward.total;
    }),
  );
  return { names, table, weights: names.map((name) => weights[name] ?? 1), groupSizes: groups.map((group) => group.length) };
}

/** The weighted sum of each trajectory's rewards, with TRL's metrics of rewards and completions. NaN metrics (a function that scored nothing) are left out. */
export function summarize(groups: Groups, { names, weights, table }: RewardMatrix): { totals: (number | null)[]; metrics: Metrics } {
  const trajectories = groups.flat();
  const totals = table.map((row) => row.reduce<number | null>((sum, v, k) => (v === null ? sum : (sum ?? 0) + v * weights[k]), null));
  const scored = totals.map((total) => total ?? NaN);
  const metrics: Metrics = { reward: nanMean(scored), reward_std: nanStd(scored), ...completionMetrics(trajectories) };
  const unscorable = totals.filter((total) => total === null).length;
  if (unscorable > 0) metrics['rewards/unscorable'] = unscorable;
  names.forEach((name, k) => {
    const column = table.map((row) => row[k] ?? NaN);
    metrics[`rewards/${name}/mean`] = nanMean(column);
    metrics[`rewards/${name}/std`] = nanStd(column);
    for (const [component, values] of components(trajectories, name)) metrics[`rewards/${name}/${component}/mean`] = nanMean(values);
  });
  for (const name of Object.keys(metrics)) if (Number.isNaN(metrics[name])) delete metrics[name];
  return { totals, metrics };
}

export interface ScoredGroups {
  /** By trajectory. */
  advantages: Map<ScoredTrajectory, number>;
  metrics: Metrics;
}

/** Rewards to group-relative advantages, with TRL's reward and completion metrics. */
export function scoreGroups(groups: Groups, weights: Readonly<Record<string, number>>, config: Pick<GRPOConfig, 'scaleRewards' | 'multiObjectiveAggregation'>): ScoredGroups {
  const matrix = rewardMatrix(groups, weights);
  const { advantages, fracRewardZeroStd } = groupAdvantages(
    { rewards: matrix.table },
    { groupSizes: matrix.groupSizes, rewardWeights: matrix.weights, scaleRewards: config.scaleRewards, multiObjectiveAggregation: config.multiObjectiveAggregation },
  );
  const { metrics } = summarize(groups, matrix);
  return { advantages: new Map(groups.flat().map((trajectory, i) => [trajectory, advantages[i]])), metrics: { ...metrics, frac_reward_zero_std: fracRewardZeroStd } };
}

/** Share of completions in groups whose scored rewards do not differ (TRL: `frac_reward_zero_std`). */
export function zeroStdShare(rewards: readonly (number | null)[], groupSizes: readonly number[]): number {
  let start = 0;
  let flat = 0;
  for (const size of groupSizes) {
    const std = nanStd(rewards.slice(start, (start += size)).map((reward) => reward ?? NaN));
    if (size < 2 || Math.abs(std) <= 1e-8) flat += size;
  }
  return rewards.length > 0 ? flat / rewards.length : 0;
}

function components(trajectories: readonly ScoredTrajectory[], name: string): Map<string, number[]> {
  const values = new Map<string, number[]>();
  for (const { rewards } of trajectories) {
    const reward = rewards[name];
    if (typeof reward !== 'object' || reward === null || !reward.components) continue;
    for (const [component, value] of Object.entries(reward.components)) values.set(component, [...(values.get(component) ?? []), value]);
  }
  return values;
}

function completionMetrics(trajectories: readonly ScoredTrajectory[]): Metrics {
  const lengths = trajectories.map((trajectory) => trajectory.trainable.reduce((a, b) => a + b, 0));
  const terminated = lengths.filter((_, i) => !isTruncated(trajectories[i]));
  const stats = (suffix: string, values: readonly number[]): Metrics => ({
    [`completions/mean_${suffix}`]: values.length > 0 ? nanMean(values) : 0,
    [`completions/min_${suffix}`]: values.length > 0 ? Math.min(...values) : 0,
    [`completions/max_${suffix}`]: values.length > 0 ? Math.max(...values) : 0,
  });
  return { ...stats('length', lengths), ...stats('terminated_length', terminated), 'completions/clipped_ratio': 1 - terminated.length / Math.max(lengths.length, 1) };
}

export { isTruncated };
