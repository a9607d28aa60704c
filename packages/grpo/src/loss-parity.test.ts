import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { policyLoss, type PolicyLossOptions } from './loss';

interface Case {
  options: Record<string, unknown>;
  inputs: Record<'logps' | 'ref_logps' | 'entropy' | 'mask', number[][]> & { advantages: number[] } & Partial<Record<'old_logps' | 'sampling_logps' | 'importance_sampling_ratio', number[][]>>;
  loss: number;
  grads: { logps: number[][]; entropy?: number[][] };
  metrics: Record<string, number>;
}

// Made by ../fixtures/losses.py: TRL 1.16.0 in float64
const cases = JSON.parse(readFileSync(new URL('../fixtures/losses-trl-more.json', import.meta.url), 'utf8')) as Case[];
const camel = (name: string) => name.replace(/_([a-z])/g, (_, c: string) => c.toUpperCase());

describe('TRL 1.16.0 on random inputs: loss, gradients, metrics', () => {
  it.each(cases.map((c, i) => [i, JSON.stringify(c.options), c] as const))('%i: %s', (_i, _name, { options, inputs, loss, grads, metrics }) => {
    const found = policyLoss(
      {
        logps: inputs.logps, oldLogps: inputs.old_logps, refLogps: inputs.ref_logps, entropy: inputs.entropy, mask: inputs.mask, advantages: inputs.advantages,
        samplingLogps: inputs.sampling_logps, importanceSamplingRatio: inputs.importance_sampling_ratio,
      },
      { maxCompletionLength: 16, ...(Object.fromEntries(Object.entries(options).map(([name, value]) => [camel(name), value])) as PolicyLossOptions) },
    );
    const near = (value: number, expected: number, what: string) => expect(Math.abs(value - expected), `${what}: ${value} for ${expected}`).toBeLessThanOrEqual(1e-9 * Math.max(1, Math.abs(expected)));
    near(found.loss, loss, 'loss');
    for (const [name, rows] of Object.entries(grads) as ['logps' | 'entropy', number[][]][]) rows.forEach((row, r) => row.forEach((g, t) => near(found.grads[name]![r][t], g, `${name}[${r}][${t}]`)));
    expect(Object.keys(found.metrics).sort()).toEqual(Object.keys(metrics).sort());
    // some of TRL's metrics are float32 shares
    for (const [name, value] of Object.entries(metrics)) expect(found.metrics[name], name).toBeCloseTo(value, 6);
  });
});
