import { gradients, variable } from '@espalier/objectives';
import { describe, expect, it } from 'vitest';
import { dpoTerms } from './dpo-loss';
import { dpoObjective } from './objective';
import { packPreferences } from './pack';
import { tokenizePreference } from './rows';

const tokenizer = { encode: (text: string) => Int32Array.from([...text].map((c) => c.charCodeAt(0))), applyChatTemplate: () => '', eosTokenId: 1 };
const logSigmoid = (x: number) => -Math.log1p(Math.exp(-x));
const terms = (chosen: number, labels: number[] | null) => ({ chosen: variable([chosen]), rejected: variable([-2]), refChosen: variable([-1.5]), refRejected: variable([-1.8]), chosenLengths: [2], rejectedLengths: [3], chosenTotal: variable([chosen]), weights: null, softLabels: labels, normalizer: { pairs: 1, chosenTokens: 2 } });

describe('soft labels', () => {
  it('make the sigmoid loss the cross-entropy with the label; 1 is the loss without one', () => {
    const margin = 0.1 * (-1 + 1.5 - (-2 + 1.8));
    const loss = (label: number | null) => dpoTerms(terms(-1, label === null ? null : [label]), {}).loss.values[0];
    expect(loss(0.7)).toBeCloseTo(-0.7 * logSigmoid(margin) - 0.3 * logSigmoid(-margin), 12);
    expect(loss(1)).toBeCloseTo(loss(null), 12);
  });

  it.each(['sigmoid', 'sigmoid_norm'] as const)('have a gradient that finite differences confirm: %s', (lossType) => {
    const at = (x: number) => dpoTerms(terms(x, [0.6]), { lossType, beta: 0.5 }).loss.values[0];
    const one = terms(-1, [0.6]);
    const [gradient] = gradients(dpoTerms(one, { lossType, beta: 0.5 }).loss, [one.chosen]);
    expect(gradient[0]).toBeCloseTo((at(-1 + 1e-6) - at(-1 - 1e-6)) / 2e-6, 7);
  });

  it('come from the rows to the loss', () => {
    const rows = [{ prompt: 'p', chosen: 'ab', rejected: 'c', soft_label: 0.6 }, { prompt: 'q', chosen: 'a', rejected: 'bcd' }];
    const examples = rows.map((row) => ({ ...tokenizePreference(row, tokenizer, { maxLength: null, softLabels: true })! }));
    const batch = packPreferences(examples);
    const values = batch.actionIndex.length;
    const numbers = { logps: new Float32Array(values).fill(-1), entropy: new Float32Array(values) };
    batch.columns.refLogps = Float32Array.from({ length: values }, (_, i) => -1 - 0.1 * i);
    const { loss } = dpoObjective().evaluate(numbers, batch);
    const margins: number[] = [];
    let a = 0;
    for (const { chosen, rejected } of examples) {
      const ratio = (length: number) => Array.from({ length }, () => 0.1 * a++).reduce((x, y) => x + y, 0);
      margins.push(0.1 * (ratio(chosen.length) - ratio(rejected.length)));
    }
    expect(loss).toBeCloseTo((-0.6 * logSigmoid(margins[0]) - 0.4 * logSigmoid(-margins[0]) - logSigmoid(margins[1])) / 2, 6);
    expect(() => dpoObjective({ lossType: 'ipo' }).evaluate(numbers, batch)).toThrow(/loss_type` ipo has no form for soft labels/);
    expect(() => tokenizePreference({ ...rows[0], soft_label: 1.2 }, tokenizer, { maxLength: null, softLabels: true, origin: { file: 'r.jsonl', line: 3 } })).toThrow(/r\.jsonl:3: `soft_label`/);
  });
});
