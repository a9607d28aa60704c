import type { Objective, OutputName, Outputs } from '@espalier/spec';
import { contractChecks } from '../check';
import { demandSame, unchanged } from '../compare';
import { demand, show } from '../contract-violation';
import { demandIdentity, demandOptionalMethods } from '../identity';
import { shuffled } from '../random-numbers';
import { evaluate, slopes } from './evaluate';
import { wrongDerivative } from './finite-differences';
import { maskingChecks } from './masking-checks';
import { outputsOf, selectFrom, splitBatch, type BatchPart } from './parts';
import { outputNames } from './output-names';
import type { ObjectiveSubject } from './subject';

const couplings = ['token', 'sequence', 'pair', 'batch'];
/** Sums in another order differ by rounding. */
const rounding = ({ tolerance }: ObjectiveSubject) => Math.max(1e-6, tolerance / 100);

/** Derivatives of parts, put where their actions stand in the whole. */
function together(objective: Objective, count: number, parts: readonly { part: BatchPart; slopes: Record<string, Float32Array> }[]): Record<string, Float32Array> {
  const whole = Object.fromEntries(objective.needs.map((name) => [name, new Float32Array(count)]));
  for (const { part, slopes: own } of parts) for (const name of objective.needs) part.actions.forEach((a, i) => (whole[name][a] += own[name][i]));
  return whole;
}

/** The contract of an {@link Objective}, check by check. */
export const objectiveChecks = contractChecks('an objective', {
  'speaks v1 and says what it needs': async ({ create }: ObjectiveSubject) => {
    const objective = await create();
    demandIdentity(objective, 'an objective', ['evaluate']);
    demandOptionalMethods(objective, 'an objective', ['inert']);
    demand(Array.isArray(objective.needs) && objective.needs.length > 0 && objective.needs.every((name) => outputNames.includes(name)), `\`needs\` to list at least one of ${outputNames.join(', ')}`, () => show(objective.needs), 'The learner computes what stands there, and nothing else.');
    demand(couplings.includes(objective.coupling), `\`coupling\` to be one of ${couplings.join(', ')}`, () => show(objective.coupling), 'It says what a micro-batch may not tear apart.');
  },

  'gives a finite loss, its derivatives and metrics': async ({ open }: ObjectiveSubject) => {
    const { objective, batch, outputs } = await open();
    evaluate(objective, outputs, batch);
  },

  'gives derivatives that finite differences confirm': async ({ open, surrogate, tolerance }: ObjectiveSubject) => {
    const { objective, batch, outputs } = await open();
    const found = slopes(evaluate(objective, outputs, batch), objective, batch.actionIndex.length);
    const loss = (at: Outputs) => (surrogate ? surrogate(at, outputs, batch) : objective.evaluate(at, batch).loss);
    for (const name of objective.needs) {
      const values = outputs[name]!;
      const scale = Math.max(...found[name].map(Math.abs), 1e-6);
      for (let a = 0; a < values.length; a++) {
        const moved = (x: number) => loss({ ...outputs, [name]: values.map((value, i) => (i === a ? x : value)) });
        const wrong = wrongDerivative(moved, values[a], found[name][a], (expected) => tolerance * Math.max(Math.abs(expected), 0.1 * scale), tolerance >= 1e-3);
        demand(wrong === null, `d loss / d ${name}[${a}] to be ${wrong}, as finite differences say`, () => `${found[name][a]}`, 'A wrong derivative trains towards something else than the loss that is logged.');
      }
    }
  },

  'adds up from the parts that its coupling allows': async (subject: ObjectiveSubject) => {
    const { objective, batch, outputs } = await subject.open();
    const whole = evaluate(objective, outputs, batch);
    const parts = splitBatch(batch, objective.coupling).map((part) => ({ part, evaluation: evaluate(objective, outputsOf(outputs, part), part.batch) }));
    const why = `Its coupling is "${objective.coupling}", so that micro-batches are cut like this: 8 × 1 and 1 × 8 must be the same step (means are taken over \`normalizer\`, not over the part).`;
    const count = batch.actionIndex.length;
    demandSame(whole.loss, parts.reduce((sum, { evaluation }) => sum + evaluation.loss, 0), { what: `the losses of ${parts.length} parts`, as: 'to add up to that of the whole', why, tolerance: rounding(subject) });
    demandSame(slopes(whole, objective, count), together(objective, count, parts.map(({ part, evaluation }) => ({ part, slopes: slopes(evaluation, objective, part.actions.length) }))), { what: `the derivatives of ${parts.length} parts`, as: 'to be those of the whole', why, tolerance: rounding(subject) });
    for (const [name, { sum, weight }] of Object.entries(whole.metrics)) {
      if (subject.wholeMetrics.has(name) || weight === 0) continue;
      const added = parts.reduce((total, { evaluation: { metrics } }) => ({ sum: total.sum + (metrics[name]?.sum ?? 0), weight: total.weight + (metrics[name]?.weight ?? 0) }), { sum: 0, weight: 0 });
      demandSame(sum / weight, added.weight > 0 ? added.sum / added.weight : NaN, { what: `metric "${name}" added up from ${parts.length} parts`, as: 'to be that of the whole', why: 'A metric would depend on how a batch is cut (`wholeMetrics` excepts extremes).', tolerance: Math.max(rounding(subject), 1e-5) });
    }
  },

  'does not depend on the order of the sequences': async (subject: ObjectiveSubject) => {
    const { objective, batch, outputs } = await subject.open();
    const count = batch.actionIndex.length;
    const whole = evaluate(objective, outputs, batch);
    const part = selectFrom(batch, shuffled(batch.offsets.length - 1, 5), () => true);
    const other = evaluate(objective, outputsOf(outputs, part), part.batch);
    const why = 'Batches are shuffled, and put together in whatever order is convenient.';
    demandSame(whole.loss, other.loss, { what: 'the loss of the sequences in another order', as: 'to be the same', why, tolerance: rounding(subject) });
    demandSame(slopes(whole, objective, count), together(objective, count, [{ part, slopes: slopes(other, objective, count) }]), { what: 'the derivatives of the sequences in another order', as: 'to be the same', why, tolerance: rounding(subject) });
  },

  'gives the same to the bit again': async ({ open }: ObjectiveSubject) => {
    const { objective, batch, outputs } = await open();
    const why = 'A run that resumes must come to the same numbers, and a step that is retried to the same step.';
    demandSame(evaluate(objective, outputs, batch), evaluate(objective, outputs, batch), { what: 'a second evaluation', as: 'to give what the first gave', why });
  },

  'does not change the outputs or the batch': async ({ open }: ObjectiveSubject) => {
    const { objective, batch, outputs } = await open();
    await unchanged({ outputs, batch }, 'outputs and batch', 'The learner uses both again: for its backward pass, and for the next epoch.', () => evaluate(objective, outputs, batch));
  },

  'gives nothing for nothing': async ({ open }: ObjectiveSubject) => {
    const { objective, batch, outputs } = await open();
    const part = selectFrom(batch, [], () => false);
    const { loss } = evaluate(objective, outputsOf(outputs, part), part.batch);
    demand(Math.abs(loss) < 1e-12, 'a part without sequences to have the loss 0', `${loss}`, 'What it would add is added once a micro-batch.');
  },

  'refuses numbers that are not finite': async ({ open }: ObjectiveSubject) => {
    const { objective, batch, outputs } = await open();
    const depends = Object.entries(evaluate(objective, outputs, batch).grads).filter(([, slope]) => slope?.some((value) => value !== 0)) as [OutputName, Float32Array][];
    for (const [name, slope] of depends) {
      const at = slope.findIndex((value) => value !== 0);
      const broken = { ...outputs, [name]: outputs[name]!.map((value, a) => (a === at ? NaN : value)) };
      let loss: number;
      try {
        loss = objective.evaluate(broken, batch).loss;
      } catch (error) {
        demand(error instanceof Error && error.message.length > 0, `an error that says what is wrong with ${name}[${at}] = NaN`, () => show(error), 'It is the first sign that weights have diverged.');
        continue;
      }
demand(!Number.isFinite(loss), `${name}[${at}] = NaN to be refused with an error, or to show in the loss, which the learner refuses then`, `the loss ${loss}`, 'Bad input must never become a step of training.');
    }
  },

  ...maskingChecks,
});
