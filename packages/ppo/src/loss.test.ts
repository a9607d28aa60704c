import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { ppoPolicyLoss, ppoValueLoss } from './loss';

interface Case {
  options: { cliprange?: number; cliprange_value?: number; vf_coef?: number };
  masks: { policy: number[][]; value: number[][] };
  inputs: { logprobs: number[][] };
  experience: Record<'advantages' | 'returns' | 'values', number[][]>;
  new: { logps: number[][]; values: number[][] };
  loss: number;
  grads: { logps: number[][]; values: number[][] };
  metrics: Record<string, number>;
}

// Made by tools/fixtures/make-ppo-fixtures.py: lines of TRL 1.9.0 in float64
const { cases } = JSON.parse(readFileSync(new URL('../fixtures/ppo-trl-1.9.0.json', import.meta.url), 'utf8')) as { cases: Case[] };
const near = (value: number, expected: number, what: string, tolerance = 1e-9) => expect(Math.abs(value - expected), `${what}: ${value} for ${expected}`).toBeLessThanOrEqual(tolerance * Math.max(1, Math.abs(expected)));

describe('TRL 1.9.0 on random inputs: loss, gradients, metrics', () => {
  it.each(cases.map((c, i) => [i, JSON.stringify(c.options), c] as const))('%i: %s', (_i, _name, c) => {
    const policy = ppoPolicyLoss({ logps: c.new.logps, oldLogps: c.inputs.logprobs, advantages: c.experience.advantages, mask: c.masks.policy }, { cliprange: c.options.cliprange });
    const value = ppoValueLoss({ values: c.new.values, oldValues: c.experience.values, returns: c.experience.returns, mask: c.masks.value }, { cliprangeValue: c.options.cliprange_value });
    const vfCoef = c.options.vf_coef ?? 0.1;
    near(policy.loss + vfCoef * value.loss, c.loss, 'loss');
    c.grads.logps.forEach((row, r) => row.forEach((g, t) => near((policy.grads.logps as number[][])[r][t], g, `logps[${r}][${t}]`)));
    c.grads.values.forEach((row, r) => row.forEach((g, t) => near(vfCoef * (value.grads.values as number[][])[r][t], g, `values[${r}][${t}]`)));
    const metrics = { ...policy.metrics, ...value.metrics };
    expect(Object.keys(metrics).sort()).toEqual(['loss/policy_avg', 'loss/value_avg', 'policy/approxkl_avg', 'policy/clipfrac_avg', 'val/clipfrac_avg', 'val/ratio']);
    for (const [name, found] of Object.entries(metrics)) near(found, c.metrics[name], name, 1e-6); // some of TRL's are float32 shares
  });
});

/** d f / d x by central differences. */
function numeric(f: (x: number[][]) => number, at: number[][]): number[][] {
  return at.map((row, r) => row.map((_, t) => {
    const moved = (h: number) => f(at.map((line, i) => line.map((v, j) => (i === r && j === t ? v + h : v))));
    return (moved(1e-6) - moved(-1e-6)) / 2e-6;
  }));
}
const same = (found: number[][] | number[], expected: number[][]) => expected.forEach((row, r) => row.forEach((g, t) => expect((found as number[][])[r][t]).toBeCloseTo(g, 7)));

describe('finite differences', () => {
  const logps = [[-1, -2, -0.5], [-1.5, -0.7]];
  const oldLogps = [[-1.3, -1.9, -0.9], [-1.1, -0.75]];
  const advantages = [[1, -0.4, 2], [-0.7, 0.3]];
  const mask = [[1, 0, 1], [1, 1]];
  it.each([0, 0.1, 0.2, 10])('policy loss, cliprange %s', (cliprange) => {
    const inputs = { logps, oldLogps, advantages, mask };
    const { grads } = ppoPolicyLoss(inputs, { cliprange });
    for (const name of ['logps', 'oldLogps', 'advantages'] as const) same(grads[name], numeric((x) => ppoPolicyLoss({ ...inputs, [name]: x }, { cliprange }).loss, inputs[name]));
  });
  const values = [[0.2, 0.5, -0.3], [1, 0]];
  const oldValues = [[0.1, 0.1, 0.4], [0.95, 0.7]];
  const returns = [[1, 0.4, 0.6], [0.2, -0.5]];
  it.each([0, 0.05, 0.2, Infinity])('value loss, cliprangeValue %s', (cliprangeValue) => {
    const inputs = { values, oldValues, returns, mask };
    const { grads } = ppoValueLoss(inputs, { cliprangeValue });
    for (const name of ['values', 'oldValues', 'returns'] as const) same(grads[name], numeric((x) => ppoValueLoss({ ...inputs, [name]: x }, { cliprangeValue }).loss, inputs[name]));
  });
});

describe('forms', () => {
  it('one completion may come flat, and its gradient goes back flat', () => {
    const flat = ppoPolicyLoss({ logps: [-1, -2], oldLogps: Float64Array.of(-1.1, -1.9), advantages: [1, -1], mask: [1, 1] });
    const nested = ppoPolicyLoss({ logps: [[-1, -2]], oldLogps: [[-1.1, -1.9]], advantages: [[1, -1]] });
    expect(flat.loss).toBe(nested.loss);
    expect([flat.grads.logps]).toEqual(nested.grads.logps);
  });
  it('parts with the normalizer of the whole add up', () => {
    const whole = ppoValueLoss({ values: [[0.2], [0.5, 0.1]], oldValues: [[0], [0, 0]], returns: [[1], [1, 0]] });
    const parts = [ppoValueLoss({ values: [[0.2]], oldValues: [[0]], returns: [[1]], normalizer: { tokens: 3 } }), ppoValueLoss({ values: [[0.5, 0.1]], oldValues: [[0, 0]], returns: [[1, 0]], normalizer: { tokens: 3 } })];
    expect(parts[0].loss + parts[1].loss).toBeCloseTo(whole.loss, 12);
  });
  it('nothing to train on is a loss of 0', () => {
    expect(ppoPolicyLoss({ logps: [[-1]], oldLogps: [[-1]], advantages: [[1]], mask: [[0]] })).toMatchObject({ loss: 0, grads: { logps: [[0]] }, metrics: { 'val/ratio': 1 } });
    expect(ppoValueLoss({ values: [], oldValues: [], returns: [] }).loss).toBe(0);
  });
  it('names what does not fit', () => {
    expect(() => ppoPolicyLoss({ logps: [[-1, -2]], oldLogps: [[-1]], advantages: [[1, 1]] })).toThrow(/row 0 of `oldLogps` has 1 entries, 2 were expected/);
    expect(() => ppoPolicyLoss({ logps: [[NaN]], oldLogps: [[-1]], advantages: [[1]] })).toThrow(/`logps`\[0\]\[0\] is NaN/);
    expect(() => ppoPolicyLoss({ logps: [[-1]], oldLogps: [[-1]], advantages: [[1]] }, { cliprange: -0.2 })).toThrow(/`cliprange` is -0.2/);
    expect(() => ppoValueLoss({ values: [[1]], oldValues: [[1]], returns: [[1]] }, { cliprangeValue: NaN })).toThrow(/`cliprange_value` is NaN/);
  });
});
