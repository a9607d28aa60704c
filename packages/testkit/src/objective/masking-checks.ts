import type { Evaluation } from '@espalier/spec';
import { demandSame } from '../compare';
import { demand } from '../contract-violation';
import { evaluate, slopes } from './evaluate';
import { outputNames } from './output-names';
import type { ObjectiveSubject } from './subject';

const result = ({ loss, grads }: Evaluation) => ({ loss, grads });

/** What an objective may not look at. */
export const maskingChecks = {
  'looks at actions alone, and at the outputs that it needs': async ({ open }: ObjectiveSubject) => {
    const { objective, batch, outputs } = await open();
    const expected = evaluate(objective, outputs, batch);
    const acting = new Set(batch.actionIndex);
    const elsewhere = { ...batch, tokens: batch.tokens.map((token, t) => (acting.has(t) ? token : token + 1)) };
    demandSame(result(expected), result(evaluate(objective, outputs, elsewhere)), { what: 'the loss and derivatives with other prompt tokens', as: 'to be the same', why: 'Tokens outside `actionIndex` are not trained on.' });
    const other = outputNames.find((name) => !objective.needs.includes(name));
    if (!other) return;
    const beside = { ...outputs, [other]: new Float32Array(batch.actionIndex.length).fill(0.5) };
    demandSame(result(expected), result(evaluate(objective, beside, batch)), { what: `the loss and derivatives beside an output that it does not need (${other})`, as: 'to be the same', why: 'A learner may give more than was asked for.' });
  },

  'leaves out actions of weight 0': async ({ open, weightColumn }: ObjectiveSubject) => {
    const { objective, batch, outputs } = await open();
    const column = weightColumn === undefined ? 'weights' : weightColumn;
    if (column === null || !batch.columns[column]) return demand(!weightColumn, `the column "${weightColumn}" in the batch`, Object.keys(batch.columns).join(', '), '`weightColumn` names it.');
    const expected = evaluate(objective, outputs, batch);
    if (weightColumn === undefined) {
      const doubled = evaluate(objective, outputs, { ...batch, columns: { ...batch.columns, [column]: batch.columns[column].map((weight) => 2 * weight) } });
      if (doubled.loss === expected.loss) return; // it does not read the column
    }
    const idle = batch.columns[column].map((weight) => Number(weight === 0));
    demand(idle.includes(1), `an action of ${column} 0 in the batch`, 'none', 'Without one, this check proves nothing.');
    const own = slopes(expected, objective, batch.actionIndex.length);
    for (const name of objective.needs) own[name].forEach((slope, a) => demand(!idle[a] || slope === 0, `no derivative of ${name}[${a}], whose ${column} is 0`, `${slope}`, 'What is masked would be trained on.'));
    const moved = Object.fromEntries(objective.needs.map((name) => [name, outputs[name]!.map((value, a) => (idle[a] ? value - 0.13 : value))]));
    demandSame(expected.loss, evaluate(objective, moved, batch).loss, { what: `the loss at other outputs of actions whose ${column} is 0`, as: 'to be the same', why: 'What is masked would count.', tolerance: 1e-12 });
  },

  'tells the truth about actions without a derivative': async ({ open }: ObjectiveSubject) => {
    const { objective, batch, outputs } = await open();
    if (!objective.inert) return;
    const thinned = (['advantages', 'weights'] as const).filter((name) => batch.columns[name]).map((name) => ({ ...batch, columns: { ...batch.columns, [name]: batch.columns[name].map((value, a) => (a % 3 === 0 ? 0 : value)) } }));
    for (const each of [batch, ...thinned]) {
      const inert = objective.inert(each);
      demand(inert instanceof Uint8Array && inert.length === each.actionIndex.length, `\`inert\` to give a Uint8Array of ${each.actionIndex.length} entries, one an action`, `${inert?.constructor.name} of ${inert?.length}`, 'The learner leaves the backward pass of what it says out.');
      const own = slopes(evaluate(objective, outputs, each), objective, inert.length);
      for (const name of objective.needs) own[name].forEach((slope, a) => demand(!inert[a] || slope === 0, `no derivative of ${name}[${a}], which \`inert\` says has none`, `${slope}`, 'The learner leaves its backward pass out: the gradient would lack it.'));
    }
  },
} as const;
