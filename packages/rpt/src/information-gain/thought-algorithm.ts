import { actionRows, gradients, variable } from '@espalier/objectives';
import { defineAlgorithm, defineObjective, EspalierError, type Algorithm, type MetricSums, type Objective } from '@espalier/spec';
import { weightedTotal } from '@espalier/trainer';
import { groupMetrics } from '../group-metrics';
import { packTrajectories } from '../trajectory-batch';
import { thoughtAdvantages, thoughtTerms, type ThoughtLossOptions } from './loss';

/** {@link thoughtTerms} as an objective. Columns: `advantages`, and `oldLogps` where the weights change while one generation is trained on. */
export function thoughtObjective(options: ThoughtLossOptions = {}): Objective {
  return defineObjective({
    name: 'information_gain',
    needs: ['logps', 'entropy'],
    coupling: 'sequence',
    inert: ({ columns }) => Uint8Array.from(columns.advantages ?? [], (advantage) => Number(advantage === 0)),
    evaluate(outputs, batch) {
      const { advantages, oldLogps } = batch.columns;
      if (!advantages) throw new EspalierError('bad_data', 'the batch has no column `advantages`', { fix: `it has ${Object.keys(batch.columns).join(', ') || 'none'}` });
      if (!outputs.logps || outputs.logps.length !== batch.actionIndex.length) throw new EspalierError('internal', `the learner gave ${outputs.logps?.length ?? 'no'} logps for ${batch.actionIndex.length} actions`);
      const logps = variable(outputs.logps);
      const { loss, clipped } = thoughtTerms({ logps, oldLogps: oldLogps ?? null, advantages, rows: actionRows(batch), normalizer: batch.normalizer }, options);
      const slopes = gradients(loss, [logps])[0];
      if (!Number.isFinite(loss.item()) || !slopes.every(Number.isFinite)) throw new EspalierError('internal', `the loss of information_gain is ${loss.item()}: the policy has moved too far from the one that sampled`, { fix: 'a lower `learning_rate`' });
      const weight = Math.max(logps.size, 1);
      const metrics: MetricSums = { clip_ratio: { sum: clipped.reduce((a, b) => a + b, 0), weight } };
      if (outputs.entropy) metrics.entropy = { sum: outputs.entropy.reduce((a, b) => a + b, 0), weight };
      return { loss: loss.item(), grads: { logps: new Float32Array(slopes) }, metrics };
    },
  });
}

export interface ThoughtAlgorithmOptions extends ThoughtLossOptions {
  /** Whether one generation serves several optimiser steps: then log-probs of the policy that sampled are computed first. Default false. */
  severalUpdates?: boolean;
}

/**
 * The update of RLP (2510.01265) as an algorithm: G / (G − 1) · (r − mean) as the advantage of a thought, no division by the spread, the clipped surrogate, no KL
 * and no language-model loss of its own.
 * @example
 * new RPTTrainer({ algorithm: thoughtAlgorithm({ epsilon: 0.2 }), rewardFuncs: mine, … }); // the update alone, on other rewards
 */
export function thoughtAlgorithm(options: ThoughtAlgorithmOptions = {}): Algorithm {
  return defineAlgorithm({
    name: 'information_gain',
    objective: thoughtObjective(options),
    numIterations: 1,
    needsReference: false,
    async experience(groups, { learner, rewardWeights, temperature, signal }) {
      const totals = groups.map((group) => group.map(({ rewards }) => weightedTotal(rewards, rewardWeights)));
      const flat = thoughtAdvantages(totals.flat(), groups.map(({ length }) => length));
      const advantages = new Map(groups.flat().map((trajectory, i) => [trajectory, flat[i]]));
      const { batch, owner } = packTrajectories(groups);
      if (options.severalUpdates && batch.actionIndex.length > 0) batch.columns.oldLogps = (await learner.forward(batch, ['logps'], { temperature, signal })).logps!;
      batch.columns.advantages = Float32Array.from(owner, (trajectory) => advantages.get(trajectory) ?? 0);
      return { batch, metrics: groupMetrics(groups, totals), advantages: groups.map((group) => group.map((trajectory) => advantages.get(trajectory) ?? null)) };
    },
  });
}
