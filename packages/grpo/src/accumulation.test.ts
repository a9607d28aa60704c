import { Random } from '@espalier/data';
import type { TokenBatch } from '@espalier/spec';
import { selectSequences } from '@espalier/trainer';
import { describe, expect, it } from 'vitest';
import { lossTypes, type PolicyLossOptions } from './loss';
import { policyObjective } from './objective';

/** A random optimiser step of eight completions, one of them without a trained token. */
function randomStep(random: Random): { batch: TokenBatch; logps: Float32Array; entropy: Float32Array } {
  const lengths = Array.from({ length: 8 }, (_, r) => (r === 3 ? 0 : random.int(1, 6)));
  const offsets = [0];
  const actionIndex: number[] = [];
  const advantages: number[] = [];
  for (const length of lengths) {
    const start = offsets.at(-1)!;
    const advantage = random.int(-20, 20) / 10;
    for (let t = 0; t < length; t++) {
      actionIndex.push(start + 1 + t);
      advantages.push(advantage);
    }
    offsets.push(start + 1 + length);
  }
  const numbers = (low: number, high: number) => Float32Array.from(actionIndex, () => random.int(low * 1000, high * 1000) / 1000);
  const logps = numbers(-3, 0);
  const near = () => logps.map((v) => v + random.int(-300, 300) / 1000);
  const batch: TokenBatch = {
    tokens: new Int32Array(offsets.at(-1)!),
    offsets: Int32Array.from(offsets),
    actionIndex: Int32Array.from(actionIndex),
    columns: { advantages: Float32Array.from(advantages), oldLogps: near(), refLogps: near(), samplingLogps: near() },
    normalizer: { tokens: actionIndex.length, sequences: lengths.length },
  };
  return { batch, logps, entropy: numbers(0, 3) };
}

const variants: PolicyLossOptions[] = [
  ...lossTypes.flatMap((lossType) => (['token', 'sequence'] as const).map((importanceSamplingLevel): PolicyLossOptions => ({ lossType, importanceSamplingLevel, beta: 0.1, entropyCoef: 0.02, maxCompletionLength: 6 }))),
  { lossType: 'grpo', offPolicyMaskThreshold: 0.05, delta: 1.4 },
  { lossType: 'rloo' },
];

describe('8 × 1 is 1 × 8: fifty random steps in one part, and a completion at a time', () => {
  it.each(variants.map((options) => [`${options.lossType} ${options.importanceSamplingLevel ?? ''}`, options] as const))('%s', (_, options) => {
    const objective = policyObjective(options);
    const random = new Random(7);
    let residual = 0;
    for (let step = 0; step < 50; step++) {
      const { batch, logps, entropy } = randomStep(random);
      const whole = objective.evaluate({ logps, entropy }, batch);
      let loss = 0;
      const grads: number[] = [];
      for (let s = 0; s < 8; s++) {
        const part = { ...selectSequences(batch, [s]), normalizer: batch.normalizer };
        const from = batch.actionIndex.findIndex((t) => t >= batch.offsets[s]);
        const cut = (values: Float32Array) => values.subarray(from < 0 ? values.length : from, (from < 0 ? values.length : from) + part.actionIndex.length);
        const found = objective.evaluate({ logps: cut(logps), entropy: cut(entropy) }, part);
        loss += found.loss;
        grads.push(...found.grads.logps!);
      }
      expect(Math.abs(loss - whole.loss)).toBeLessThan(1e-12);
      grads.forEach((g, i) => expect(Math.abs(g - whole.grads.logps![i])).toBeLessThan(1e-7));
      residual += loss - whole.loss;
    }
    expect(Math.abs(residual / 50)).toBeLessThan(1e-13);
  });
});
