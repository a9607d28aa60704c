import { actionRows, constant, div, gather, gradients, mul, rowSum, sum, variable, type Vector } from '@espalier/objectives';
import { defineObjective, EspalierError, type Evaluation, type MetricSums, type Objective } from '@espalier/spec';
import { sharedLengthWeights } from './completions';
import { cpoTerms, resolveCPOOptions, takesAverages, type CPOLossOptions } from './cpo-loss';
import { dpoTerms, pairWeights, resolveDPOOptions, type DPOLossOptions } from './dpo-loss';
import { ktoTerms, resolveKTOOptions, type KTOLossOptions } from './kto-loss';
import { orpoTerms, resolveORPOOptions, type ORPOLossOptions } from './orpo-loss';
import { column, output, pairRows, type Side } from './pair-rows';

/**
 * {@link dpoLoss} as an objective: `batch.pairs` says which sequences are compared, column `refLogps` holds the reference's log-probs. Means are over
 * the pairs of the optimiser step (`normalizer.sequences` / 2; `sft`: over `normalizer.tokens`, the chosen ones), so that accumulation is exact. The
 * `aot` losses sort over a batch and see the micro-batch, as in TRL.
 *
 * @throws EspalierError `bad_config`; on evaluation `bad_data` for a batch without pairs or `refLogps`, `internal` when a number is not finite
 *
 * @example
 * const objective = dpoObjective({ lossType: 'ipo', beta: 0.1 });
 * const { loss, grads } = objective.evaluate({ logps, entropy }, batch);
 */
export function dpoObjective(options: DPOLossOptions = {}): Objective {
  const { lossTypes, ldAlpha, useWeighting } = resolveDPOOptions(options);
  return defineObjective({
    name: 'dpo',
    needs: ['logps', 'entropy', ...(useWeighting ? (['sumSquares'] as const) : [])],
    coupling: lossTypes.some((name) => name === 'aot' || name === 'aot_unpaired') ? 'batch' : 'pair',
    evaluate(outputs, batch) {
      const logps = variable(output(outputs, 'logps', batch));
      const reference = constant(column(batch, 'refLogps'));
      const { chosen, rejected, pairs } = pairRows(batch);
      const shared = ldAlpha === null ? null : chosen.lengths.map((length, p) => Math.min(length, rejected.lengths[p]));
      const sums = (side: Side, of: Vector) => {
        const weights = shared && sharedLengthWeights(side.rows, shared, ldAlpha!);
        return rowSum(weights ? mul(side.of(of), weights) : side.of(of), side.rows);
      };
      const aligned = (side: Side): number[] => {
        const squares = output(outputs, 'sumSquares', batch);
        const values = constant(Array.from(side.index, (a) => logps.values[a] - Math.log(squares[a])));
        return Array.from(rowSum(values, side.rows).values, (total, p) => total / Math.max(side.lengths[p], 1));
      };
      const { loss, metrics } = dpoTerms(
        {
          chosen: sums(chosen, logps), rejected: sums(rejected, logps), refChosen: sums(chosen, reference), refRejected: sums(rejected, reference),
          chosenLengths: chosen.lengths, rejectedLengths: rejected.lengths,
          chosenTotal: sum(chosen.of(logps)),
          softLabels: batch.columns.softLabels && Array.from(chosen.rows.offsets.subarray(0, pairs), (start) => batch.columns.softLabels[chosen.index[start]]),
          weights: useWeighting && pairs > 0 ? pairWeights(aligned(chosen), aligned(rejected)) : null,
          normalizer: { pairs: batch.normalizer.sequences / 2, chosenTokens: batch.normalizer.tokens },
        },
        options,
      );
      return evaluation('dpo', loss, logps, { ...metrics, ...entropyOf(outputs.entropy) });
    },
  });
}

/**
 * {@link ktoLoss} as an objective: a sequence is a completion, and its actions carry the columns `labels` (1: desirable), `refLogps`, and for `kto` its
 * `kl`, the z of the batch. Means are over the completions of the optimiser step.
 */
export function ktoObjective(options: KTOLossOptions = {}): Objective {
  const { lossType } = resolveKTOOptions(options);
  return defineObjective({
    name: 'kto',
    needs: ['logps', 'entropy'],
    coupling: 'sequence',
    evaluate(outputs, batch) {
      const logps = variable(output(outputs, 'logps', batch));
      const rows = actionRows(batch);
      const first = (values: Float32Array) => Array.from({ length: rows.count }, (_, r) => values[rows.offsets[r]] ?? 0);
      const kl = lossType === 'kto' ? first(column(batch, 'kl')) : new Array<number>(rows.count).fill(0);
      const { loss, metrics } = ktoTerms(
        { logps: rowSum(logps, rows), refLogps: rowSum(column(batch, 'refLogps'), rows), labels: first(column(batch, 'labels')), kl, normalizer: batch.normalizer.sequences },
        options,
      );
      return evaluation('kto', loss, logps, { kl: { sum: kl.reduce((a, b) => a + b, 0), weight: kl.length }, ...metrics, ...entropyOf(outputs.entropy) });
    },
  });
}

/** {@link cpoLoss} as an objective on `batch.pairs`: means over the pairs and, for the language-model loss, over `normalizer.tokens` chosen tokens of the step. */
export function cpoObjective(options: CPOLossOptions = {}): Objective {
  const { lossType, cpoAlpha } = resolveCPOOptions(options);
  return defineObjective({
    name: 'cpo',
    needs: ['logps', 'entropy'],
    coupling: 'pair',
    evaluate(outputs, batch) {
      const logps = variable(output(outputs, 'logps', batch));
      const { chosen, rejected } = pairRows(batch);
      const logp = (side: Side) => (takesAverages(lossType) ? average(side, logps) : rowSum(side.of(logps), side.rows));
      const chosenTotal = cpoAlpha === 0 ? null : sum(chosen.of(logps));
      const { loss, metrics } = cpoTerms({ chosen: logp(chosen), rejected: logp(rejected), chosenTotal, normalizer: { pairs: batch.normalizer.sequences / 2, chosenTokens: batch.normalizer.tokens } }, options);
      return evaluation('cpo', loss, logps, { ...metrics, nll_loss: { sum: chosenTotal ? -chosenTotal.item() : 0, weight: chosenTotal ? chosen.rows.size : 1 }, ...entropyOf(outputs.entropy) });
    },
  });
}

/** {@link orpoLoss} as an objective on `batch.pairs`; actions of no pair are tokens of prompts, which the language-model loss counts too. */
export function orpoObjective(options: ORPOLossOptions = {}): Objective {
  resolveORPOOptions(options);
  return defineObjective({
    name: 'orpo',
    needs: ['logps', 'entropy'],
    coupling: 'pair',
    evaluate(outputs, batch) {
      const logps = variable(output(outputs, 'logps', batch));
      const { chosen, rejected, others } = pairRows(batch);
      const trained = Int32Array.from([...chosen.index, ...others]);
      const total = sum(gather(logps, trained));
      const { loss, metrics } = orpoTerms({ chosen: average(chosen, logps), rejected: average(rejected, logps), total, normalizer: { pairs: batch.normalizer.sequences / 2, tokens: batch.normalizer.tokens } }, options);
      return evaluation('orpo', loss, logps, { ...metrics, nll_loss: { sum: -total.item(), weight: trained.length }, ...entropyOf(outputs.entropy) });
    },
  });
}

/** Mean log-prob of a token of each completion. [P] */
const average = (side: Side, logps: Vector): Vector => div(rowSum(side.of(logps), side.rows), Array.from(side.lengths, (length) => Math.max(length, 1)));

const entropyOf = (entropy: Float32Array | undefined): MetricSums => (entropy ? { entropy: { sum: entropy.reduce((a, b) => a + b, 0), weight: entropy.length } } : {});

function evaluation(name: string, loss: Vector, logps: Vector, metrics: MetricSums): Evaluation {
  const value = loss.item();
  const [slopes] = gradients(loss, [logps]);
  if (!Number.isFinite(value) || !slopes.every(Number.isFinite)) throw new EspalierError('internal', `the loss of ${name} is ${value}: the policy has moved too far`, { fix: 'a lower `learning_rate`, or another `beta`' });
  return { loss: value, grads: { logps: Float32Array.from(slopes) }, metrics };
}

