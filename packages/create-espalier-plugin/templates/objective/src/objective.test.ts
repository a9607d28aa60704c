import { describeObjective, sampleBatch } from '@espalier/testkit';
import { describe, expect, it } from 'vitest';
import { __camelName__Objective } from './objective.js';

describeObjective(__camelName__Objective());
describeObjective(__camelName__Objective({ gamma: 0 }), { title: 'objective "__name__" with gamma 0' });

describe('__camelName__Objective', () => {
  const batch = sampleBatch({ columns: {} });
  const logps = Float32Array.from(batch.actionIndex, (_, a) => -0.1 - a / 8);

  it('is the negative log-likelihood with gamma 0', () => {
    const expected = -logps.reduce((sum, logp) => sum + logp, 0) / logps.length;
    expect(__camelName__Objective({ gamma: 0 }).evaluate({ logps }, batch).loss).toBeCloseTo(expected, 6);
  });

  it('is the formula of the paper', () => {
    const expected = -logps.reduce((sum, logp) => sum + (1 - Math.exp(logp)) ** 3 * logp, 0) / logps.length;
    expect(__camelName__Objective({ gamma: 3 }).evaluate({ logps }, batch).loss).toBeCloseTo(expected, 6);
  });

  it('refuses a gamma below 0', () => {
    expect(() => __camelName__Objective({ gamma: -1 })).toThrow('__name__: `gamma` is -1');
  });
});
