import { testBackends } from '@espalier/tensor/testing';
import { describe, expect, it } from 'vitest';
import { goldenChecks } from './golden-checks';

describe.each(await testBackends('cpu', 'wasm', 'native'))('the tiny model of the self-test on %s', (name) => {
  it.each(Object.keys(goldenChecks))('%s', (check) => goldenChecks[check]({ name, tolerance: 1e-5, precision: 'fp32' }));
});

describe('the checks of the tiny model', () => {
  it('fail where numbers differ by more than the tolerance', async () => {
    for (const [name, check] of Object.entries(goldenChecks)) if (!name.includes('decoding')) await expect(check({ name: 'cpu', tolerance: 1e-12, precision: 'fp32' }), name).rejects.toThrow(/expected .* to be .*; found/);
  });
});
