import { defineReward, EspalierError, type RewardFunction } from '@espalier/spec';

export const ensembleAggregations = ['mean', 'min', 'uncertainty'] as const;
/** How the rewards of several models become one: their mean; the least of them (worst case); mean − λ · variance (2310.02743). */
export type EnsembleAggregation = (typeof ensembleAggregations)[number];

export interface EnsembleOptions {
  /** Default `mean`. */
  aggregation?: EnsembleAggregation;
  /** λ of `uncertainty`. Default 0.5. */
  varianceCoefficient?: number;
  /** Default `reward_ensemble`. */
  name?: string;
}

/**
 * One number of several rewards for the same completion (Coste et al. 2310.02743): the variance is over the models, Σ (r − mean)² / k.
 * @throws EspalierError `bad_config` for an unknown aggregation or a coefficient that is not finite; `bad_data` for no rewards
 * @example
 * aggregateRewards([1, 3], { aggregation: 'uncertainty', varianceCoefficient: 0.5 }); // 1.5
 */
export function aggregateRewards(rewards: readonly number[], { aggregation = 'mean', varianceCoefficient = 0.5 }: EnsembleOptions = {}): number {
  checkOptions({ aggregation, varianceCoefficient });
  if (rewards.length === 0) throw new EspalierError('bad_data', 'there are no rewards to aggregate', { fix: 'one at least' });
  if (aggregation === 'min') return Math.min(...rewards);
  const mean = rewards.reduce((a, b) => a + b, 0) / rewards.length;
  if (aggregation === 'mean') return mean;
  return mean - (varianceCoefficient * rewards.reduce((sum, r) => sum + (r - mean) ** 2, 0)) / rewards.length;
}

function checkOptions({ aggregation, varianceCoefficient = 0.5 }: EnsembleOptions): void {
  if (aggregation && !ensembleAggregations.includes(aggregation)) throw new EspalierError('bad_config', `aggregation ${JSON.stringify(aggregation)} is unknown`, { fix: `one of ${ensembleAggregations.join(', ')}` });
  if (!Number.isFinite(varianceCoefficient)) throw new EspalierError('bad_config', `varianceCoefficient is ${varianceCoefficient}`, { fix: 'a number; 0.1 to 1 is usual' });
}

/**
 * Several reward models as one reward function, with each one's reward under `components`, and their spread as `std`. Models that do not apply to a sample
 * are left out of it; a sample to which none applies gets null. Their running numbers are kept as those of each.
 *
 * @throws EspalierError `bad_config` for no members, two of one name, or options that make no sense
 *
 * @example
 * const reward = rewardEnsemble(['rm-1', 'rm-2', 'rm-3'].map((model) => rewardModel({ model, name: model })), { aggregation: 'min' });
 */
export function rewardEnsemble(members: readonly RewardFunction[], options: EnsembleOptions = {}): RewardFunction & { close(): Promise<void> } {
  checkOptions(options);
  if (members.length === 0) throw new EspalierError('bad_config', 'an ensemble has no members', { fix: 'two reward models or more' });
  const names = members.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) throw new EspalierError('bad_config', `two members of the ensemble are named "${twice}"`, { fix: 'give one another `name`' });
  const reward = defineReward({
    name: options.name ?? 'reward_ensemble',
    async score(samples, context) {
      const columns = await Promise.all(members.map((member) => member.score(samples, context)));
      return samples.map((_, i) => {
        const components: Record<string, number> = {};
        members.forEach(({ name }, m) => {
          const value = columns[m][i];
          if (value !== null) components[name] = typeof value === 'number' ? value : value.total;
        });
        const rewards = Object.values(components);
        if (rewards.length === 0) return null;
        const mean = rewards.reduce((a, b) => a + b, 0) / rewards.length;
        return { total: aggregateRewards(rewards, options), components: { ...components, std: Math.sqrt(rewards.reduce((sum, r) => sum + (r - mean) ** 2, 0) / rewards.length) } };
      });
    },
  });
  return {
    ...reward,
    state: () => Object.fromEntries(members.flatMap((member) => (member.state ? [[member.name, member.state()]] : []))),
    restore(state) {
      for (const member of members) if (member.restore && (state as Record<string, unknown>)[member.name] !== undefined) member.restore((state as Record<string, unknown>)[member.name]);
    },
    async close() {
      for (const member of members) await (member as { close?: () => Promise<void> }).close?.();
    },
  };
}
