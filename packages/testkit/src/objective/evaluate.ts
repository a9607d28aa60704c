import type { Evaluation, Objective, OutputName, Outputs, TokenBatch } from '@espalier/spec';
import { demand, show } from '../contract-violation';

/** Evaluates, and looks at what comes: finite, of the right shape, nothing that was not needed. */
export function evaluate(objective: Objective, outputs: Outputs, batch: TokenBatch): Evaluation {
  const evaluation: unknown = objective.evaluate(outputs, batch);
  demand(typeof evaluation === 'object' && evaluation !== null && !(evaluation instanceof Promise), 'an evaluation at once: { loss, grads, metrics }', () => show(evaluation), 'It runs between a forward and a backward pass.');
  const { loss, grads, metrics } = evaluation as Evaluation;
  demand(Number.isFinite(loss), 'a finite loss', () => show(loss), 'A loss that is not finite means NaN weights after the next step.');
  const count = batch.actionIndex.length;
  for (const [name, values] of Object.entries(grads ?? {}) as [OutputName, Float32Array | undefined][]) {
    if (values === undefined) continue;
    demand(objective.needs.includes(name), `derivatives of what it needs (${objective.needs.join(', ')})`, `one of ${show(name)}`, 'The learner has no such output to send the derivative back through.');
    demand(values instanceof Float32Array && values.length === count, `\`grads.${name}\` to be a Float32Array of ${count} numbers, one an action`, () => show(values), 'A derivative that is out of step goes to other tokens.');
    const bad = values.findIndex((value) => !Number.isFinite(value));
    demand(bad < 0, `\`grads.${name}\` to be finite`, () => `${values[bad]} at action ${bad}`, 'One NaN makes every weight NaN.');
  }
  demand(typeof metrics === 'object' && metrics !== null, '`metrics` to be an object', () => show(metrics), 'They are logged with the loss.');
  for (const [name, metric] of Object.entries(metrics)) {
    demand(Number.isFinite(metric?.sum) && Number.isFinite(metric?.weight) && metric.weight >= 0, `metric "${name}" to be a finite { sum, weight } with a weight of at least 0`, () => show(metric), 'Metrics are added up over micro-batches, and divided by their weight.');
  }
  return { loss, grads: grads ?? {}, metrics };
}

/** The derivative of each needed output, zeros where the objective gives none. */
export function slopes({ grads }: Evaluation, objective: Objective, count: number): Record<string, Float32Array> {
  return Object.fromEntries(objective.needs.map((name) => [name, grads[name] ?? new Float32Array(count)]));
}
