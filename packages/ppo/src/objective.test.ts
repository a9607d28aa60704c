import type { Outputs, TokenBatch } from '@espalier/spec';
import { describe, expect, it } from 'vitest';
import { ppoPolicyLoss, ppoValueLoss } from './loss';
import { ppoPolicyObjective, ppoSharedObjective, ppoValueObjective } from './objective';

const f32 = (...values: number[]) => Float32Array.from(values);
const batch: TokenBatch = {
  tokens: Int32Array.of(1, 2, 3, 4, 5, 6, 7), offsets: Int32Array.of(0, 4, 7), actionIndex: Int32Array.of(1, 2, 3, 5, 6),
  columns: {
    oldLogps: f32(-1, -2, -0.5, -1.25, -0.75), advantages: f32(1, -0.5, 2, -1, 0.25),
    oldValues: f32(0.125, 0.5, 0.25, -0.5, 1), returns: f32(1, 0.75, -0.5, 0.25, 1.5),
    ended: f32(0, 0, 1, 0, 0), endValues: f32(0, 0, 0.375, 0, 0), endReturns: f32(0, 0, 1, 0, 0), stateCount: f32(6, 6, 6, 6, 6),
  },
  normalizer: { tokens: 5, sequences: 2 },
};
const outputs: Outputs = { logps: f32(-0.75, -2.5, -0.5625, -1.5, -0.25), entropy: f32(1, 2, 3, 4, 5), values: f32(0.25, 0.875, 0.25, -0.4375, 1.5), scores: f32(9, 9, 0.75, 9, 9) };
const options = { cliprange: 0.2, vfCoef: 0.1, cliprangeValue: 0.2, valueAfterEos: true };

describe('the objectives are the losses', () => {
  it('policy: the mean over the tokens', () => {
    const pure = ppoPolicyLoss({ logps: outputs.logps!, oldLogps: batch.columns.oldLogps, advantages: batch.columns.advantages });
    const { loss, grads, metrics } = ppoPolicyObjective(options).evaluate(outputs, batch);
    expect(loss).toBeCloseTo(pure.loss, 12);
    expect([...grads.logps!]).toEqual([...Float32Array.from(pure.grads.logps as number[])]);
    for (const [name, value] of Object.entries(pure.metrics)) expect(metrics[name].sum / metrics[name].weight, name).toBeCloseTo(value, 12);
    expect(metrics['policy/entropy_avg']).toEqual({ sum: 15, weight: 5 });
  });

  it('value: the mean over states, the one after the end of a completion among them', () => {
    const { oldValues, returns } = batch.columns;
    const pure = ppoValueLoss({ values: [...outputs.values!, 0.75], oldValues: [...oldValues, 0.375], returns: [...returns, 1] });
    const { loss, grads, metrics } = ppoValueObjective(options).evaluate(outputs, batch);
    expect(loss).toBeCloseTo(0.1 * pure.loss, 12);
    expect([...grads.values!, grads.scores![2]]).toEqual([...Float32Array.from((pure.grads.values as number[]).map((g) => 0.1 * g))]);
    expect([0, 1, 3, 4].map((a) => grads.scores![a])).toEqual([0, 0, 0, 0]);
    for (const [name, value] of Object.entries(pure.metrics)) expect(metrics[name].sum / metrics[name].weight, name).toBeCloseTo(value, 12);
  });

  it('without states after the end, and without clipping, the scores are not asked for', () => {
    const objective = ppoValueObjective({ vfCoef: 1, cliprangeValue: null, valueAfterEos: false });
    expect(objective.needs).toEqual(['values']);
    const { oldValues, returns } = batch.columns;
    const pure = ppoValueLoss({ values: outputs.values!, oldValues, returns }, { cliprangeValue: Infinity });
    expect(objective.evaluate(outputs, { ...batch, columns: { oldValues, returns } }).loss).toBeCloseTo(pure.loss, 12);
  });

  it('shared: the sum of both', () => {
    const [policy, value, shared] = [ppoPolicyObjective(options), ppoValueObjective(options), ppoSharedObjective(options)].map((objective) => objective.evaluate(outputs, batch));
    expect(shared.loss).toBeCloseTo(policy.loss + value.loss, 12);
    expect(shared.grads).toEqual({ ...policy.grads, ...value.grads });
    expect(Object.keys(shared.metrics)).toEqual([...Object.keys(policy.metrics), ...Object.keys(value.metrics)]);
  });

  it.each(['logps', 'values', 'scores'] as const)('shared: the derivative by %s is that of the loss', (name) => {
    const objective = ppoSharedObjective(options);
    const { grads } = objective.evaluate(outputs, batch);
    for (let a = 0; a < 5; a++) {
      const at = (h: number) => objective.evaluate({ ...outputs, [name]: outputs[name]!.map((v, i) => (i === a ? v + h : v)) }, batch).loss;
      const h = 2 ** -12; // exact in float32
      expect(grads[name]![a]).toBeCloseTo((at(h) - at(-h)) / (2 * h), 3);
    }
  });
});

it('says what is missing or has diverged', () => {
  expect(() => ppoPolicyObjective(options).evaluate(outputs, { ...batch, columns: {} })).toThrow(/no column `oldLogps`/);
  expect(() => ppoPolicyObjective(options).evaluate({ ...outputs, logps: f32(NaN, 0, 0, 0, 0) }, batch)).toThrow(/logps\[0\] is NaN/);
  expect(() => ppoValueObjective(options).evaluate({ values: f32(1) }, batch)).toThrow(/gave 1 values for 5 actions/);
  expect(() => ppoPolicyObjective(options).evaluate({ ...outputs, logps: f32(1e5, 0, 0, 0, 0) }, { ...batch, columns: { ...batch.columns, advantages: f32(-1, 0, 0, 0, 0) } })).toThrow(/loss of ppo is Infinity.*target_kl/);
});
