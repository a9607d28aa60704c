import { actionRows, add, constant, gather, gradients, mul, sum, variable } from '@espalier/objectives';
import { defineObjective, EspalierError, type Objective, type TokenBatch } from '@espalier/spec';
import { goldTerms, goldWeights, valueTerms, type GoldLossOptions } from './loss';

export interface PrecisionObjectiveOptions extends GoldLossOptions {
  /** Weight of predicting from the state after a solution's last token whether it is correct. Default 0: no head is asked. */
  valueCoef?: number;
}

/**
 * Precision learning as an objective on solutions: {@link goldTerms} on the tokens that column `trained` marks, and with `valueCoef` the classification of each
 * solution (column `correct`) from the scalar head after its last token. Metrics: `nll`, `gold_weight`, `entropy` and `value_accuracy`.
 */
export function precisionObjective(options: PrecisionObjectiveOptions = {}): Objective {
  const { valueCoef = 0 } = options;
  return defineObjective({
    name: 'precision',
    needs: valueCoef > 0 ? ['logps', 'entropy', 'scores'] : ['logps', 'entropy'],
    coupling: valueCoef > 0 ? 'sequence' : 'token',
    ...(valueCoef > 0 ? {} : { inert: (batch: TokenBatch) => Uint8Array.from(column(batch, 'trained'), (counts) => Number(counts === 0)) }),
    evaluate(outputs, batch) {
      const trained = column(batch, 'trained');
      const logps = variable(output(outputs.logps, 'logps', batch));
      const count = trained.reduce((a, b) => a + b, 0);
      let loss = goldTerms(logps, trained, batch.normalizer, options);
      const metrics: ReturnType<Objective['evaluate']>['metrics'] = {
        nll: { sum: -sum(mul(constant(logps.values), trained)).item(), weight: count },
        gold_weight: { sum: sum(mul(goldWeights(logps.values, options), trained)).item(), weight: count },
        ...(outputs.entropy ? { entropy: { sum: sum(mul(constant(outputs.entropy), trained)).item(), weight: count } } : {}),
      };
      if (valueCoef === 0) return { loss: loss.item(), grads: { logps: new Float32Array(gradients(loss, [logps])[0]) }, metrics };

      const rows = actionRows(batch);
      const last = Array.from({ length: rows.count }, (_, r) => r).flatMap((r) => (rows.offsets[r + 1] > rows.offsets[r] ? [rows.offsets[r + 1] - 1] : []));
      const scores = variable(output(outputs.scores, 'scores', batch));
      const correct = Float64Array.from(last, (a) => column(batch, 'correct')[a]);
      const value = valueTerms(gather(scores, last), correct, batch.normalizer);
      loss = add(loss, mul(value, valueCoef));
      const share = last.length;
      metrics.value_loss = { sum: value.item() * Math.max(batch.normalizer.sequences, 1), weight: share };
      metrics.value_accuracy = { sum: last.reduce((hits, a, i) => hits + Number(scores.values[a] > 0 === correct[i] > 0.5), 0), weight: share };
      const [forLogps, forScores] = gradients(loss, [logps, scores]);
      return { loss: loss.item(), grads: { logps: new Float32Array(forLogps), scores: new Float32Array(forScores) }, metrics };
    },
  });
}

function column(batch: TokenBatch, name: string): Float32Array {
  const values = batch.columns[name];
  if (!values) throw new EspalierError('bad_data', `the batch has no column \`${name}\``, { fix: `it has ${Object.keys(batch.columns).join(', ') || 'none'}` });
  return values;
}

function output(values: Float32Array | undefined, name: string, batch: TokenBatch): Float32Array {
  if (!values || values.length !== batch.actionIndex.length) throw new EspalierError('internal', `the learner gave ${values?.length ?? 'no'} ${name} for ${batch.actionIndex.length} actions`);
  const bad = values.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) throw new EspalierError('internal', `${name}[${bad}] is ${values[bad]}: the weights have diverged`, { fix: 'resume from an earlier checkpoint with a lower `learning_rate`' });
  return values;
}
