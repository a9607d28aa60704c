import { defineAlgorithm, type ScoredTrajectory } from '@espalier/spec';
import { weightedTotal, type StatefulAlgorithm } from '@espalier/trainer';
import { groupMetrics } from '../group-metrics';
import { thoughtObjective } from '../information-gain/thought-algorithm';
import { thoughtAdvantages } from '../loss';
import { packTrajectories } from '../trajectory-batch';
import { RoleBaselines, type Role } from './role-baselines';
import type { SolverGroup } from './self-play-reward';

export interface SelfPlayAlgorithmOptions {
  /** Attempts at the problem that a trajectory proposed, by its id; undefined: it proposed none, or one that another proposed before it. */
  attemptsOf(trajectory: string): SolverGroup | undefined;
  /** What rewards are compared with: others of the group, or the role's moving average. */
  baseline: 'group' | 'ema';
  /** Of the moving averages. */
  decay: number;
  /** Whether one generation serves several optimiser steps: then log-probs of the policy that sampled are computed first. */
  severalUpdates?: boolean;
}

/**
 * Proposals and the attempts at them in one update: each completion is weighed by what it earned more than its baseline. A policy plays both roles, with the same weights.
 */
export function selfPlayAlgorithm(options: SelfPlayAlgorithmOptions): StatefulAlgorithm {
  const baselines = new RoleBaselines(options.decay);

  /** Advantage of each trajectory of a role; null where nothing applied. */
  function advantagesOf(role: Role, groups: readonly (readonly ScoredTrajectory[])[], totals: readonly (number | null)[]): Map<ScoredTrajectory, number | null> {
    const trajectories = groups.flat();
    if (options.baseline === 'group') {
      const advantages = thoughtAdvantages(totals, groups.map(({ length }) => length));
      return new Map(trajectories.map((trajectory, i) => [trajectory, advantages[i]]));
    }
    const advantages = baselines.advantages(role, totals.filter((total) => total !== null));
    let next = 0;
    return new Map(trajectories.map((trajectory, i) => [trajectory, totals[i] === null ? null : advantages[next++]]));
  }

  return {
    ...defineAlgorithm({
      name: 'self_play',
      objective: { ...thoughtObjective(), name: 'self_play' },
      numIterations: 1,
      needsReference: false,
      async experience(groups, { learner, rewardWeights, temperature, signal }) {
        const totals = groups.map((group) => group.map(({ rewards }) => weightedTotal(rewards, rewardWeights)));
        const attempts = groups.flatMap((group) => group.flatMap(({ id }) => { const found = options.attemptsOf(id); return found ? [found] : []; }));
        const earned = attempts.flatMap((group) => group.map(({ rewards }) => rewards['solver'] as number));
        const proposed = advantagesOf('proposer', groups, totals.flat());
        const solved = advantagesOf('solver', attempts, earned);
        const { batch, owner } = packTrajectories([...groups, ...attempts]);
        if (options.severalUpdates && batch.actionIndex.length > 0) batch.columns.oldLogps = (await learner.forward(batch, ['logps'], { temperature, signal })).logps!;
        batch.columns.advantages = Float32Array.from(owner, (trajectory) => proposed.get(trajectory) ?? solved.get(trajectory) ?? 0);
        const metrics = groupMetrics(groups, totals);
        return {
          batch,
          metrics: { ...metrics, 'self_play/problems': attempts.length, ...(earned.length > 0 ? { 'self_play/solver_reward': earned.reduce((a, b) => a + b, 0) / earned.length } : {}) },
          advantages: groups.map((group) => group.map((trajectory) => proposed.get(trajectory) ?? null)),
        };
      },
    }),
    state: () => baselines.state(),
    restore: (state) => baselines.restore(state),
  };
}
