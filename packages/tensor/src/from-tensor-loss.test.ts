import type { TokenBatch } from '@espalier/spec';
import { beforeAll, describe, expect, it } from 'vitest';
import { div, exp, fromTensorLoss, memory, minimum, mul, neg, selectBackend, sub, sum } from './index';
import { testBackend } from './testing';

const batch: TokenBatch = {
  tokens: Int32Array.of(1, 2, 3, 4),
  offsets: Int32Array.of(0, 4),
  actionIndex: Int32Array.of(1, 2, 3),
  columns: { oldLogps: Float32Array.of(-1, -2, -0.5), advantages: Float32Array.of(1, -0.5, 2) },
  normalizer: { tokens: 3, sequences: 1 },
};

describe('an objective made of a tfjs loss', () => {
  beforeAll(async () => void (await selectBackend(testBackend())));

  const ratio = fromTensorLoss('ratio', { needs: ['logps'] }, ({ logps }, { oldLogps, advantages }, { normalizer }) => div(neg(sum(mul(exp(sub(logps, oldLogps)), advantages))), normalizer.tokens));

  it('gives the loss and its derivative', () => {
    const before = memory().numTensors;
    const logps = Float32Array.of(-0.9, -2.2, -0.4);
    const { loss, grads } = ratio.evaluate({ logps }, batch);
    const terms = [...logps].map((lp, i) => -(Math.exp(lp - batch.columns.oldLogps[i]) * batch.columns.advantages[i]) / 3);
    expect(loss).toBeCloseTo(terms.reduce((a, b) => a + b), 5);
    terms.forEach((term, i) => expect(grads.logps![i]).toBeCloseTo(term, 5)); // d/dlp of r A is r A
    expect(memory().numTensors).toBe(before);
    expect(ratio).toMatchObject({ specVersion: 'v1', coupling: 'token', needs: ['logps'] });
  });

  it('says nothing about outputs that the loss does not depend on', () => {
    const only = fromTensorLoss('only', { needs: ['logps', 'entropy'], coupling: 'batch' }, ({ logps }) => sum(minimum(logps, -1)));
    const { grads } = only.evaluate({ logps: Float32Array.of(-2, -0.5), entropy: Float32Array.of(1, 1) }, { ...batch, columns: {} });
    expect([...grads.logps!]).toEqual([1, 0]);
    expect(grads.entropy).toBeUndefined();
  });

  it('refuses a missing output, a loss that is no scalar, and one that is not finite', () => {
    const before = memory().numTensors;
    expect(() => ratio.evaluate({}, batch)).toThrow(/needs the output "logps"/);
    expect(() => fromTensorLoss('wide', { needs: ['logps'] }, ({ logps }) => logps).evaluate({ logps: Float32Array.of(1, 2) }, batch)).toThrow(/shape \[2\]/);
    expect(() => fromTensorLoss('bad', { needs: ['logps'] }, ({ logps }) => sum(exp(mul(logps, 1000)))).evaluate({ logps: Float32Array.of(1) }, batch)).toThrow(/Infinity/);
    expect(memory().numTensors).toBe(before);
  });
});
