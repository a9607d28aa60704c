import { defineObjective, EspalierError, type MetricSums, type Objective } from '@espalier/spec';

/** How the divergence from the teacher is taken: TRL's `beta` and `temperature` of `generalized_jsd_loss`. */
export interface DistillObjectiveOptions {
  /** From 0 (forward KL, teacher ‖ student) to 1 (reverse KL, student ‖ teacher). Default 0.5. */
  beta?: number;
  /** Both models' logits are divided by it. Default 1. */
  temperature?: number;
  /** Log the student's mean entropy (nats a token) as the metric `entropy`, which costs one more forward pass of its head. Default false. */
  entropy?: boolean;
}

/**
 * `jsdLoss` as an objective: the mean over the tokens of the whole optimiser step of the learner's output `teacherDivergence`, which is the formula of one
 * position (2306.13649, eq. 1), computed where the two models are. Accumulation is exact. Metrics: `jsd`, the mean over tokens; `entropy` where it is asked for.
 *
 * @throws EspalierError on evaluation: `internal` when a divergence is not finite
 */
export function distillObjective({ beta = 0.5, temperature = 1, entropy = false }: DistillObjectiveOptions = {}): Objective {
  return defineObjective({
    name: 'distill',
    needs: entropy ? ['teacherDivergence', 'entropy'] : ['teacherDivergence'],
    outputOptions: { teacherDivergence: { beta, temperature } },
    coupling: 'token',
    evaluate({ teacherDivergence: divergences, entropy: entropies }, batch) {
      const count = batch.actionIndex.length;
      if (!divergences || divergences.length !== count) throw new EspalierError('internal', `the learner gave ${divergences ? divergences.length : 'no'} divergences for ${count} actions`);
      const bad = divergences.findIndex((v) => !Number.isFinite(v));
      if (bad >= 0) throw new EspalierError('internal', `teacherDivergence[${bad}] is ${divergences[bad]}: the weights have diverged`, { fix: 'resume from an earlier checkpoint with a lower `learning_rate`' });
      const tokens = Math.max(batch.normalizer.tokens, 1);
      const total = divergences.reduce((a, b) => a + b, 0);
      const metrics: MetricSums = { jsd: { sum: total, weight: count } };
      if (entropies) metrics.entropy = { sum: entropies.reduce((a, b) => a + b, 0), weight: count };
      return { loss: total / tokens, grads: { teacherDivergence: new Float32Array(count).fill(1 / tokens) }, metrics };
    },
  });
}
