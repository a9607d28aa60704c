import { klEstimate, type KlEstimator } from '@espalier/objectives';
import { defineObjective, EspalierError, type Algorithm, type ExperienceContext, type Objective, type Outputs, type ScoredTrajectory } from '@espalier/spec';
import type { Json, StatefulAlgorithm } from '@espalier/trainer';
import { packTrajectories } from './trajectory-batch';

export interface KlOptions {
  /** Weight of the divergence. */
  coefficient: number;
  /** Default `loss`. */
  placement?: 'loss' | 'reward';
  /** Default: `k3` in the loss, `k1` in the reward. */
  estimator?: KlEstimator;
  /** Adapt the weight so that a completion's divergence stays near `target` nats, over about `horizon` completions. */
  adaptive?: { target: number; horizon?: number };
}

/** The reward function's name under which the penalty stands among a trajectory's rewards. */
const penaltyName = 'kl_penalty';

/**
 * An algorithm with a KL penalty against the first weights.
 *
 * In the loss: + β Σ_t k(logp_t, ref_t) / tokens of the step, with k2 or k3; k1 is refused there, because the expectation of its derivative is
 * zero. In the reward: − β Σ_t k(logp_t, ref_t) of the completion, as one more reward function, with log-probs of the policy that sampled.
 *
 * With `adaptive`, β ← β · (1 + clip(KL / target − 1, ±0.2) · n / horizon) after n completions whose mean divergence is KL (Ziegler et al. 2019,
 * 1909.08593, §2.2); β is saved with checkpoints.
 *
 * @throws EspalierError `bad_config`
 */
export function withKl(algorithm: Algorithm, options: KlOptions): StatefulAlgorithm & { raiseBeta(factor: number): number } {
  const placement = options.placement ?? 'loss';
  const estimator = options.estimator ?? (placement === 'loss' ? 'k3' : 'k1');
  if (placement === 'loss' && estimator === 'k1') throw new EspalierError('bad_config', '`kl_estimator` k1 in the loss has a derivative whose expectation is zero: it would not hold the policy back', { fix: 'k2 or k3, or `kl_placement` reward' });
  if (!(options.coefficient >= 0)) throw new EspalierError('bad_config', `\`kl_coef\` is ${options.coefficient}`, { fix: 'zero or a positive number' });
  let coefficient = options.coefficient;
  const inner = 'state' in algorithm && 'restore' in algorithm ? (algorithm as StatefulAlgorithm) : null;

  async function divergence(groups: readonly (readonly ScoredTrajectory[])[], { learner, temperature, signal }: ExperienceContext) {
    const { batch, owner } = packTrajectories(groups);
    if (batch.actionIndex.length === 0) return { perTrajectory: new Map<ScoredTrajectory, number>(), mean: 0 };
    const [policy, reference] = [await learner.forward(batch, ['logps'], { temperature, signal }), await learner.forward(batch, ['logps'], { temperature, signal, reference: true })];
    const { values, mean } = klEstimate({ logps: policy.logps!, refLogps: reference.logps! }, { estimator });
    const perTrajectory = new Map<ScoredTrajectory, number>();
    values.forEach((value, a) => perTrajectory.set(owner[a], (perTrajectory.get(owner[a]) ?? 0) + value));
    return { perTrajectory, mean };
  }

  function adapt(perTrajectory: ReadonlyMap<ScoredTrajectory, number>): void {
    if (!options.adaptive || perTrajectory.size === 0) return;
    const { target, horizon = 10_000 } = options.adaptive;
    const current = [...perTrajectory.values()].reduce((a, b) => a + b, 0) / perTrajectory.size;
    coefficient *= 1 + (Math.min(Math.max(current / target - 1, -0.2), 0.2) * perTrajectory.size) / horizon;
  }

  return {
    ...algorithm,
    specVersion: 'v1',
    needsReference: true,
    objective: placement === 'loss' ? klObjective(algorithm.objective, estimator, () => coefficient) : algorithm.objective,
    state: (): Json => ({ coefficient, ...(inner ? { inner: inner.state() } : {}) }),
    restore(state) {
      const saved = state as { coefficient: number; inner?: Json };
      coefficient = saved.coefficient;
      if (inner && saved.inner !== undefined) inner.restore(saved.inner);
    },
    raiseBeta: (factor: number) => (coefficient *= factor),
    async experience(groups, context) {
      const used = coefficient;
      if (placement === 'loss') {
        const experience = await algorithm.experience(groups, context);
        const { batch } = experience;
        if (!batch.columns.refLogps && batch.actionIndex.length > 0) {
          const { signal, temperature } = context;
          batch.columns.refLogps = (await context.learner.forward(batch, ['logps'], { signal, temperature, reference: true })).logps!;
        }
        if (options.adaptive) adapt((await divergence(groups, context)).perTrajectory);
        return { batch, metrics: { ...experience.metrics, kl_coef: used } };
      }
      const { perTrajectory, mean } = await divergence(groups, context);
      adapt(perTrajectory);
      // A completion that nothing could score stays unscored: a penalty alone is no reward.
      const penalised = groups.map((group) =>
        group.map((trajectory): ScoredTrajectory => {
          const scored = Object.values(trajectory.rewards).some((reward) => reward !== null);
          return { ...trajectory, rewards: { ...trajectory.rewards, [penaltyName]: scored ? -used * (perTrajectory.get(trajectory) ?? 0) : null } };
        }),
      );
      const experience = await algorithm.experience(penalised, context);
      return { batch: experience.batch, metrics: { ...experience.metrics, kl: mean, kl_coef: used } };
    },
  };
}

/** The objective with β Σ k / tokens of the step added, differentiated with respect to the policy's log-probs. */
export function klObjective(objective: Objective, estimator: KlEstimator, coefficient: () => number): Objective {
  const { inert: _, ...base } = objective; // every action has a derivative now: that of the divergence
  return defineObjective({
    ...base,
    name: `${objective.name}+kl`,
    needs: [...new Set([...objective.needs, 'logps' as const])],
    evaluate(outputs, batch) {
      const evaluation = objective.evaluate(outputs, batch);
      const { refLogps } = batch.columns;
      const logps = outputs.logps;
      if (!refLogps || !logps) throw new EspalierError('bad_data', 'the batch has no column `refLogps`', { fix: `it has ${Object.keys(batch.columns).join(', ') || 'none'}` });
      const kl = klEstimate({ logps, refLogps }, { estimator });
      const scale = coefficient() / Math.max(batch.normalizer.tokens, 1);
      const total = kl.values.reduce((a, b) => a + b, 0);
      const grads: Outputs = { ...evaluation.grads, logps: Float32Array.from(kl.grads.logps, (g, a) => scale * g + (evaluation.grads.logps?.[a] ?? 0)) };
      return { loss: evaluation.loss + scale * total, grads, metrics: { kl: { sum: total, weight: kl.values.length }, ...evaluation.metrics } };
    },
  });
}
