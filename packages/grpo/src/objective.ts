import { actionRows, constant, gradients, variable } from '@espalier/objectives';
import { defineObjective, EspalierError, type Coupling, type Objective, type OutputName, type Outputs, type TokenBatch } from '@espalier/spec';
import type { EntropyController } from './entropy-control';
import { policyTerms, type PolicyLossOptions } from './loss';
import { correct, mismatchSums } from './off-policy';
import type { OffPolicyConfig } from './policy-config';

/** What a micro-batch may not tear apart: ratios, masks and means over a sequence need all of it, a quantile needs the batch. */
function couplingOf(options: PolicyLossOptions, offPolicy: OffPolicyConfig | undefined): Coupling {
  if ((options.topEntropyQuantile ?? 1) < 1) return 'batch';
  if (options.lossType === 'rloo') return 'sequence';
  if (offPolicy && offPolicy.importanceSamplingCorrection !== false && !offPolicy.importanceSamplingMode.startsWith('token')) return 'sequence';
  const ofTokens = ['dapo', 'bnpo', 'dr_grpo', 'cispo'].includes(options.lossType ?? 'dapo') && (options.importanceSamplingLevel ?? 'token') === 'token';
  return ofTokens && (options.offPolicyMaskThreshold === undefined || options.offPolicyMaskThreshold === null) ? 'token' : 'sequence';
}

/**
 * {@link policyLoss} as an objective on the columns of a batch: `advantages`, and as options ask `oldLogps`, `refLogps`, `samplingLogps`,
 * `importanceSamplingRatio`. Without `oldLogps` the old policy is the current one. Means are over the whole optimiser step (`batch.normalizer`).
 *
 * @param controller moves the coefficient of the entropy bonus from step to step, in place of `entropyCoef`
 * @param offPolicy how the mismatch with the sampler is corrected in batches with a column `corrected` and without `oldLogps`: by the log-probs that the loss has anyway
 * @throws EspalierError on evaluation: `bad_data` for a missing column, `internal` when the log-probs or the loss are not finite
 *
 * @example
 * const objective = policyObjective({ lossType: 'dapo', epsilonHigh: 0.28 });
 * const { loss, grads } = objective.evaluate({ logps, entropy }, batch);
 */
export function policyObjective(options: PolicyLossOptions, controller?: EntropyController, offPolicy?: OffPolicyConfig): Objective {
  const needs: OutputName[] = ['logps', 'entropy'];
  const ofSequences = options.lossType === 'rloo' || options.importanceSamplingLevel === 'sequence'; // the ratio of a token is that of its sequence
  const advantageAlone = (options.entropyCoef ?? 0) === 0 && !controller && (options.beta ?? 0) === 0; // each term of the loss has it as a factor
  return defineObjective({
    name: 'grpo',
    needs,
    coupling: couplingOf(options, offPolicy),
    ...(advantageAlone ? { inert: (batch: TokenBatch) => inertActions(batch, ofSequences) } : {}),
    evaluate(outputs, batch) {
      const entropyCoef = controller ? controller.applied : (options.entropyCoef ?? 0);
      const logps = variable(output(outputs, 'logps', batch));
      const entropy = outputs.entropy || entropyCoef !== 0 || controller ? variable(output(outputs, 'entropy', batch)) : null;
      const column = (name: string) => (batch.columns[name] ? constant(batch.columns[name]) : null);
      const advantages = column('advantages');
      if (!advantages) throw new EspalierError('bad_data', 'the batch has no column `advantages`', { fix: `it has ${Object.keys(batch.columns).join(', ') || 'none'}` });
      const { oldLogps, samplingLogps, corrected } = batch.columns;
      const rows = actionRows(batch);
      const correction = offPolicy && corrected && samplingLogps && !oldLogps ? correct(logps.values, samplingLogps, rows, offPolicy) : null;
      const { loss, metrics, activeEntropy } = policyTerms(
        {
          logps, entropy, advantages,
          oldLogps: column('oldLogps'),
          refLogps: column('refLogps'),
          samplingLogps: column('samplingLogps'),
          importanceSamplingRatio: correction ? constant(correction.column) : column('importanceSamplingRatio'),
          rows,
          normalizer: batch.normalizer,
        },
        { ...options, entropyCoef },
      );
      // Without old log-probs the current ones are those of π_old: here is where the sampler is first seen beside them.
      if (samplingLogps && !oldLogps) Object.assign(metrics, mismatchSums(logps.values, samplingLogps));
      if (correction) for (const [name, value] of Object.entries(correction.metrics)) metrics[name] = { sum: value * logps.values.length, weight: logps.values.length };
      const value = loss.item();
      const [forLogps, forEntropy] = gradients(loss, entropy ? [logps, entropy] : [logps]);
      if (!Number.isFinite(value) || !forLogps.every(Number.isFinite)) {
        throw new EspalierError('internal', `the loss of grpo is ${value}: the policy has moved too far from the one that sampled`, { fix: 'a lower `learning_rate`, fewer `num_iterations`, or `delta`' });
      }
      if (controller && activeEntropy) {
        const tokens = batch.actionIndex.length;
        const share = tokens / Math.max(batch.normalizer.tokens, 1);
        metrics.policy_loss ??= { sum: value, weight: share };
        controller.observe({ ...activeEntropy, tokens }, batch.normalizer.tokens);
        metrics.entropy_coef = { sum: controller.current * share, weight: share };
      }
      const grads: Outputs = { logps: new Float32Array(forLogps) };
      if (entropyCoef !== 0 && forEntropy) grads.entropy = new Float32Array(forEntropy);
      return { loss: value, grads, metrics };
    },
  });
}

/** 1 for actions of advantage 0; where a ratio is that of a whole sequence, for those of sequences without another advantage. [A] */
function inertActions(batch: TokenBatch, ofSequences: boolean): Uint8Array {
  const inert = Uint8Array.from(batch.columns.advantages ?? [], (advantage) => (advantage === 0 ? 1 : 0));
  if (!ofSequences) return inert;
  const { offsets, count } = actionRows(batch);
  for (let r = 0; r < count; r++) if (!inert.subarray(offsets[r], offsets[r + 1]).every((flag) => flag === 1)) inert.fill(0, offsets[r], offsets[r + 1]);
  return inert;
}

function output(outputs: Outputs, name: OutputName, batch: TokenBatch): Float32Array {
  const values = outputs[name];
  if (!values || values.length !== batch.actionIndex.length) {
    throw new EspalierError('internal', `the learner gave ${values ? values.length : 'no'} ${name} for ${batch.actionIndex.length} actions`);
  }
  const bad = values.findIndex((v) => !Number.isFinite(v));
  if (bad >= 0) throw new EspalierError('internal', `${name}[${bad}] of the policy is ${values[bad]}: its weights have diverged`, { fix: 'resume from an earlier checkpoint with a lower `learning_rate`' });
  return values;
}
