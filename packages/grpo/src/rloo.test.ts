import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { policyLoss, type PolicyLossInputs } from './loss';
import { policyObjective } from './objective';

interface Case {
  epsilon: number;
  epsilonHigh: number;
  logps: number[][];
  oldLogps: number[][];
  advantages: number[];
  loss: number;
  grads: number[][];
  metrics: Record<string, number>;
}

// Made by tools/fixtures/make-policy-fixtures.py: TRL 1.16.0 in float64
const cases = JSON.parse(readFileSync(new URL('../fixtures/rloo-losses-trl-1.16.0.json', import.meta.url), 'utf8')) as Case[];
const near = (found: number, expected: number, tolerance = 1e-9) => expect(Math.abs(found - expected), `${found} for ${expected}`).toBeLessThanOrEqual(tolerance * Math.max(1, Math.abs(expected)));

describe('policyLoss, rloo', () => {
  const inputs: PolicyLossInputs = {
    logps: [[-1, -2, -0.5], [-1.5, -0.7, 0]],
    oldLogps: [[-1.2, -1.9, -1.1], [-1.1, -1, 0]],
    mask: [[1, 1, 1], [1, 1, 0]],
    advantages: [1, -0.5],
  };

  it('the golden number of TRL 1.16.0', () => near(policyLoss(inputs, { lossType: 'rloo' }).loss, -0.37379068, 1e-6));

  it.each(cases.map((c, i) => [i, c] as const))('random inputs %i: loss, gradient, metrics', (_, { epsilon, epsilonHigh, logps, oldLogps, advantages, loss, grads, metrics }) => {
    const found = policyLoss({ logps, oldLogps, advantages }, { lossType: 'rloo', epsilon, epsilonHigh });
    near(found.loss, loss);
    grads.forEach((row, r) => row.forEach((g, t) => near(found.grads.logps[r][t], g)));
    expect(Object.keys(found.metrics).sort()).toEqual(Object.keys(metrics).sort());
    for (const [name, value] of Object.entries(metrics)) expect(found.metrics[name], name).toBeCloseTo(value, 6);
  });

  it('derivatives with respect to every input against finite differences, a correction included', () => {
    const smooth: PolicyLossInputs = { ...inputs, logps: [[-1.1, -1.95, -1], [-1.15, -0.98, 7]], importanceSamplingRatio: [[1.3, 1.3, 1.3], [0.6, 0.6, 0]] };
    const options = { lossType: 'rloo', epsilon: 0.3 } as const;
    const { grads } = policyLoss(smooth, options);
    for (const name of ['logps', 'oldLogps'] as const) {
      for (const [r, t] of [[0, 0], [0, 2], [1, 1]]) {
        const at = (h: number) => policyLoss({ ...smooth, [name]: smooth[name]!.map((row, i) => Array.from(row, (v, j) => (i === r && j === t ? v + h : v))) }, options).loss;
        expect(grads[name]![r][t]).toBeCloseTo((at(1e-6) - at(-1e-6)) / 2e-6, 6);
      }
    }
    const at = (h: number) => policyLoss({ ...smooth, advantages: [1 + h, -0.5] }, options).loss;
    expect((grads.advantages as number[])[0]).toBeCloseTo((at(1e-6) - at(-1e-6)) / 2e-6, 6);
    expect(grads.logps[1][2]).toBe(0);
  });

  it('has no place for options of the other losses, and says what to do', () => {
    expect(() => policyLoss(inputs, { lossType: 'rloo', beta: 0.1 })).toThrow('`loss_type` rloo has no `beta`, which is 0.1 (take the KL off the reward');
    expect(() => policyLoss(inputs, { lossType: 'rloo', entropyCoef: 0.1 })).toThrow('`entropy_coef`');
    expect(() => policyLoss(inputs, { lossType: 'rloo', delta: 2 })).toThrow('`delta`');
  });

  it('as an objective it keeps a completion together', () => expect(policyObjective({ lossType: 'rloo' }).coupling).toBe('sequence'));
});
