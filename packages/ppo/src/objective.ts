import { add, gradients, mul, sum, variable, where, type Vector } from '@espalier/objectives';
import { defineObjective, EspalierError, type Evaluation, type MetricSums, type Objective, type OutputName, type Outputs, type TokenBatch } from '@espalier/spec';
import type { PPOConfig } from './config';
import { policyTerms, valueTerms } from './loss';

export type PolicyObjectiveOptions = Pick<PPOConfig, 'cliprange'>;
export type ValueObjectiveOptions = Pick<PPOConfig, 'vfCoef' | 'cliprangeValue' | 'valueAfterEos'>;

/** A loss on the tape, of these outputs. */
interface Term {
  loss: Vector;
  inputs: Partial<Record<OutputName, Vector>>;
  metrics: MetricSums;
}

/**
 * {@link ppoPolicyLoss} as an objective on the columns `oldLogps` and `advantages`: the mean over the tokens of the optimiser step.
 * @throws EspalierError on evaluation: `bad_data` for a missing column, `internal` when outputs or loss are not finite
 */
export function ppoPolicyObjective(options: PolicyObjectiveOptions): Objective {
  return defineObjective({ name: 'ppo', needs: ['logps', 'entropy'], coupling: 'token', evaluate: (outputs, batch) => evaluation([policyTerm(outputs, batch, options)]) });
}

/**
 * {@link ppoValueLoss} times `vfCoef` as an objective on the columns `oldValues` and `returns`, and with `valueAfterEos` on `ended`, `endValues`, `endReturns`: the
 * mean over the states of the optimiser step, whose number stands in the column `stateCount` (without it: the tokens).
 * @throws EspalierError as {@link ppoPolicyObjective}
 */
export function ppoValueObjective(options: ValueObjectiveOptions): Objective {
  return defineObjective({ name: 'ppo-value', needs: valueOutputs(options), coupling: 'token', evaluate: (outputs, batch) => evaluation([valueTerm(outputs, batch, options)]) });
}

/** Both on one model: the policy's loss plus `vfCoef` times the value loss. */
export function ppoSharedObjective(options: PolicyObjectiveOptions & ValueObjectiveOptions): Objective {
  return defineObjective({
    name: 'ppo',
    needs: ['logps', 'entropy', ...valueOutputs(options)],
    coupling: 'token',
    evaluate: (outputs, batch) => evaluation([policyTerm(outputs, batch, options), valueTerm(outputs, batch, options)]),
  });
}

/** `values`: V before each token; `scores`: V after it. */
export const valueOutputs = ({ valueAfterEos }: Pick<PPOConfig, 'valueAfterEos'>): OutputName[] => (valueAfterEos ? ['values', 'scores'] : ['values']);

function policyTerm(outputs: Outputs, batch: TokenBatch, { cliprange }: PolicyObjectiveOptions): Term {
  const logps = variable(output(outputs, 'logps', batch));
  const { perToken, ratio, logRatio, clipped } = policyTerms({ logps, oldLogps: column(batch, 'oldLogps'), advantages: column(batch, 'advantages') }, { cliprange });
  const metric = (values: ArrayLike<number>) => ({ sum: total(values), weight: perToken.size });
  return {
    loss: mul(sum(perToken), 1 / Math.max(batch.normalizer.tokens, 1)),
    inputs: { logps },
    metrics: {
      'loss/policy_avg': metric(perToken.values),
      'policy/clipfrac_avg': metric(clipped),
      'policy/approxkl_avg': metric(logRatio.values.map((x) => 0.5 * x * x)),
      ...(outputs.entropy ? { 'policy/entropy_avg': metric(outputs.entropy) } : {}),
      'val/ratio': metric(ratio.values),
    },
  };
}

function valueTerm(outputs: Outputs, batch: TokenBatch, { vfCoef, cliprangeValue, valueAfterEos }: ValueObjectiveOptions): Term {
  const options = { cliprangeValue: cliprangeValue ?? Infinity };
  const values = variable(output(outputs, 'values', batch));
  const inputs: Term['inputs'] = { values };
  const before = valueTerms({ values, oldValues: column(batch, 'oldValues'), returns: column(batch, 'returns') }, options);
  let loss = sum(before.perToken);
  let clips = total(before.clipped);
  let states = before.perToken.size;
  if (valueAfterEos) {
    const scores = (inputs.scores = variable(output(outputs, 'scores', batch)));
    const ended = column(batch, 'ended');
    const after = valueTerms({ values: scores, oldValues: column(batch, 'endValues'), returns: column(batch, 'endReturns') }, options);
    loss = add(loss, sum(where(ended, after.perToken, 0)));
    clips += total(after.clipped.map((flag, a) => flag * ended[a]));
    states += total(ended);
  }
  const count = batch.columns.stateCount?.[0] ?? batch.normalizer.tokens;
  return {
    loss: mul(loss, vfCoef / Math.max(count, 1)),
    inputs,
    metrics: { 'loss/value_avg': { sum: loss.item(), weight: states }, 'val/clipfrac_avg': { sum: clips, weight: states } },
  };
}

function evaluation(terms: readonly Term[]): Evaluation {
  const loss = terms.map((term) => term.loss).reduce((a, b) => add(a, b));
  const value = loss.item();
  const inputs = terms.flatMap((term) => Object.entries(term.inputs) as [OutputName, Vector][]);
  const found = gradients(loss, inputs.map(([, vector]) => vector));
  if (!Number.isFinite(value) || !found.every((grad) => grad.every(Number.isFinite))) {
    throw new EspalierError('internal', `the loss of ppo is ${value}: the policy has moved too far from the one that sampled`, { fix: 'a lower `learning_rate`, fewer `num_ppo_epochs`, or `target_kl`' });
  }
  const grads: Outputs = Object.fromEntries(inputs.map(([name], i) => [name, Float32Array.from(found[i])]));
  return { loss: value, grads, metrics: Object.assign({}, ...terms.map(({ metrics }) => metrics)) as MetricSums };
}

const total = (values: ArrayLike<number>) => Array.from(values).reduce((a, b) => a + b, 0);

function column(batch: TokenBatch, name: string): Float32Array {
  const values = batch.columns[name];
  if (!values) throw new EspalierError('bad_data', `the batch has no column \`${name}\``, { fix: `it has ${Object.keys(batch.columns).join(', ') || 'none'}` });
  return values;
}

function output(outputs: Outputs, name: OutputName, batch: TokenBatch): Float32Array {
  const values = outputs[name];
  if (!values || values.length !== batch.actionIndex.length) throw new EspalierError('internal', `the learner gave ${values ? values.length : 'no'} ${name} for ${batch.actionIndex.length} actions`);
  const bad = values.findIndex((v) => !Number.isFinite(v));
  if (bad >= 0) throw new EspalierError('internal', `${name}[${bad}] is ${values[bad]}: the weights have diverged`, { fix: 'resume from an earlier checkpoint with a lower `learning_rate`' });
  return values;
}
