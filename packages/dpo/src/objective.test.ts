import { Random } from '@espalier/data';
import { selectSequences } from '@espalier/trainer';
import type { Objective, Outputs, TokenBatch } from '@espalier/spec';
import { describe, expect, it } from 'vitest';
import { imbalance } from './kto-trainer';
import { cpoLoss, cpoObjective, dpoLoss, dpoLossTypes, dpoObjective, ktoLoss, ktoObjective, orpoLoss, orpoObjective, packPreferences, packUnpaired, type CPOLossOptions, type DPOLossOptions } from './index';

const random = new Random(7);
const number = (low: number, high: number) => low + (random.uint32() / 2 ** 32) * (high - low);
const tokens = (length: number) => Int32Array.from({ length }, () => random.int(1, 9));
const examples = Array.from({ length: 6 }, () => ({ prompt: tokens(random.int(1, 4)), chosen: tokens(random.int(1, 6)), rejected: tokens(random.int(1, 6)) }));
const numbers = (count: number, low: number, high: number) => Float32Array.from({ length: count }, () => number(low, high));

/** Numbers a token of what was chosen, of what was rejected, and of prompts. */
function byPair(batch: TokenBatch, values: Float32Array) {
  const rowOf = (sequence: number) => Array.from(values.filter((_, a) => batch.actionIndex[a] >= batch.offsets[sequence] && batch.actionIndex[a] < batch.offsets[sequence + 1]));
  const sequences = Array.from(batch.pairs!);
  return {
    chosen: sequences.filter((_, i) => i % 2 === 0).map(rowOf),
    rejected: sequences.filter((_, i) => i % 2 === 1).map(rowOf),
    prompts: sequences.filter((_, i) => i % 2 === 0).map((sequence) => rowOf(batch.prefixOf![sequence])),
  };
}

/** The same loss and derivative from parts of one pair each as from the whole. */
function expectAdditive(objective: Objective, outputs: Outputs, batch: TokenBatch): void {
  const whole = objective.evaluate(outputs, batch);
  const order = { ...batch, columns: { ...batch.columns, place: Float32Array.from(batch.actionIndex.keys()) } };
  let loss = 0;
  const slopes = new Float32Array(batch.actionIndex.length);
  const units = batch.pairs ? Array.from({ length: batch.pairs.length / 2 }, (_, p) => [batch.pairs![2 * p], batch.pairs![2 * p + 1]]) : Array.from({ length: batch.offsets.length - 1 }, (_, s) => [s]);
  for (const unit of units) {
    const withPrompt = batch.pairs && batch.columns.prompted ? [...unit, batch.prefixOf![unit[0]]] : unit;
    const part = { ...selectSequences(order, withPrompt), normalizer: batch.normalizer };
    const place = Array.from(part.columns.place);
    const own = objective.evaluate(Object.fromEntries(Object.entries(outputs).map(([name, values]) => [name, Float32Array.from(place, (a) => values[a])])), part);
    loss += own.loss;
    place.forEach((a, i) => (slopes[a] += own.grads.logps![i]));
  }
  expect(loss).toBeCloseTo(whole.loss, 10);
  slopes.forEach((slope, a) => expect(slope).toBeCloseTo(whole.grads.logps![a], 6));
}

const same = (found: ArrayLike<number>, expected: readonly number[]) => expected.forEach((value, i) => expect(found[i]).toBeCloseTo(value, 6));
const smoothing = (lossType: string) => (['exo_pair', 'robust', 'aot', 'aot_unpaired'].includes(lossType) ? 0.1 : 0);

describe('objectives are the losses on a batch', () => {
  const batch = packPreferences(examples);
  const count = batch.actionIndex.length;
  const [logps, refLogps, sumSquares, entropy] = [numbers(count, -3, -0.1), numbers(count, -3, -0.1), numbers(count, 0.1, 0.9), numbers(count, 0, 2)];
  const [policy, reference, squares] = [byPair(batch, logps), byPair(batch, refLogps), byPair(batch, sumSquares)];
  const inputs = {
    chosenLogps: policy.chosen, rejectedLogps: policy.rejected, refChosenLogps: reference.chosen, refRejectedLogps: reference.rejected, chosenSumSquares: squares.chosen, rejectedSumSquares: squares.rejected,
  };
  const variants: DPOLossOptions[] = [
    ...dpoLossTypes.flatMap((lossType) => [{ lossType, labelSmoothing: smoothing(lossType), beta: 0.3 }, { lossType, labelSmoothing: smoothing(lossType), ldAlpha: 0.4 }]),
    { useWeighting: true }, { lossType: 'ipo', useWeighting: true, ldAlpha: 0.2 }, { fDivergenceType: 'js_divergence' }, { lossType: ['sigmoid', 'sft', 'apo_down'], lossWeights: [0.5, 1, 2] },
  ];

  it.each(variants.map((options) => [JSON.stringify(options), options] as const))('dpo %s', (_name, options) => {
    const objective = dpoObjective(options);
    const outputs: Outputs = { logps, entropy, sumSquares };
    const whole = { ...batch, columns: { refLogps } };
    const { loss, grads, metrics } = objective.evaluate(outputs, whole);
    const expected = dpoLoss(inputs, options);
    expect(loss).toBeCloseTo(expected.loss, 6);
    const slopes = byPair(whole, grads.logps!);
    same(slopes.chosen.flat(), (expected.grads.chosenLogps as number[][]).flat());
    same(slopes.rejected.flat(), (expected.grads.rejectedLogps as number[][]).flat());
    for (const [name, value] of Object.entries(expected.metrics)) expect(metrics[name].sum / metrics[name].weight, name).toBeCloseTo(value, 6);
    if (objective.coupling === 'pair') expectAdditive(objective, outputs, whole);
    else expect(String(options.lossType)).toMatch(/aot/);
  });

  it.each([{}, { lossType: 'simpo', beta: 2 }, { lossType: 'alphapo', alpha: 0.3 }, { lossType: 'ipo', cpoAlpha: 0 }, { lossType: 'hinge', labelSmoothing: 0.1 }] as CPOLossOptions[])('cpo %j', (options) => {
    const { loss, grads } = cpoObjective(options).evaluate({ logps, entropy }, batch);
    const expected = cpoLoss({ chosenLogps: policy.chosen, rejectedLogps: policy.rejected }, options);
    expect(loss).toBeCloseTo(expected.loss, 6);
    const slopes = byPair(batch, grads.logps!);
    same(slopes.chosen.flat(), (expected.grads.chosenLogps as number[][]).flat());
    same(slopes.rejected.flat(), (expected.grads.rejectedLogps as number[][]).flat());
    expectAdditive(cpoObjective(options), { logps, entropy }, batch);
  });

  it('orpo, whose prompts are trained on', () => {
    const whole = packPreferences(examples, { promptActions: true });
    const values = numbers(whole.actionIndex.length, -3, -0.1);
    const rows = byPair(whole, values);
    const { loss, grads } = orpoObjective({ beta: 0.4 }).evaluate({ logps: values }, whole);
    const expected = orpoLoss({ chosenLogps: rows.chosen, rejectedLogps: rows.rejected, promptLogps: rows.prompts }, { beta: 0.4 });
    expect(loss).toBeCloseTo(expected.loss, 6);
    const slopes = byPair(whole, grads.logps!);
    same(slopes.prompts.flat(), (expected.grads.promptLogps as number[][]).flat());
    same(slopes.rejected.flat(), (expected.grads.rejectedLogps as number[][]).flat());
    expectAdditive(orpoObjective({ beta: 0.4 }), { logps: values }, { ...whole, columns: { prompted: new Float32Array(values.length) } });
  });

  it.each(['kto', 'apo_zero_unpaired'] as const)('%s', (lossType) => {
    const labels = [true, false, false, true, true];
    const whole = packUnpaired(labels.map((label) => ({ prompt: tokens(2), completion: tokens(random.int(1, 5)), label, fromPair: false })));
    const [values, refs] = [numbers(whole.actionIndex.length, -3, -0.1), numbers(whole.actionIndex.length, -3, -0.1)];
    const rows = (from: Float32Array) => labels.map((_, s) => Array.from(from.filter((_, a) => whole.actionIndex[a] >= whole.offsets[s] && whole.actionIndex[a] < whole.offsets[s + 1])));
    const columns = { ...whole.columns, refLogps: refs, kl: new Float32Array(values.length).fill(0.25) };
    const options = { lossType, beta: 0.4, undesirableWeight: 1.3 };
    const { loss, grads, metrics } = ktoObjective(options).evaluate({ logps: values }, { ...whole, columns });
    const expected = ktoLoss({ logps: rows(values), refLogps: rows(refs), labels, klLogps: [-1], refKlLogps: [-1.25] }, options);
    expect(loss).toBeCloseTo(expected.loss, 6);
    same(grads.logps!, (expected.grads.logps as number[][]).flat());
    for (const [name, value] of Object.entries(expected.metrics)) expect(metrics[name].sum / metrics[name].weight, name).toBeCloseTo(value, 6);
    expectAdditive(ktoObjective(options), { logps: values }, { ...whole, columns });
  });

  it('says what a batch lacks, and that weights have diverged', () => {
    expect(() => dpoObjective().evaluate({ logps }, batch)).toThrow(/no column `refLogps`/);
    expect(() => dpoObjective().evaluate({ logps }, { ...batch, pairs: undefined, columns: { refLogps } })).toThrow(/no `pairs`/);
    expect(() => dpoObjective().evaluate({ logps: logps.map(() => NaN) }, { ...batch, columns: { refLogps } })).toThrow(/logps\[0\] of the policy is NaN/);
    expect(() => ktoObjective().evaluate({ logps }, { ...batch, columns: { refLogps, labels: logps } })).toThrow(/no column `kl`/);
  });
});

it('labels that their weights do not even out are noticed, with weights that would', () => {
  const even = { desirableWeight: 1, undesirableWeight: 1 };
  expect(imbalance({ desirable: 10, undesirable: 10 }, even)).toEqual([]);
  expect(imbalance({ desirable: 12, undesirable: 10 }, even)).toEqual([]);
  expect(imbalance({ desirable: 10, undesirable: 20 }, { desirableWeight: 2, undesirableWeight: 1 })).toEqual([]);
  expect(imbalance({ desirable: 10, undesirable: 20 }, even)).toMatchObject([{ name: 'unbalanced_labels', level: 'warning', message: expect.stringMatching(/`desirable_weight` in \[2\.00, 2\.66\] or `undesirable_weight` in \[0\.38, 0\.50\]/) as string }]);
});
