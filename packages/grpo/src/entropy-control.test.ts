import type { TokenBatch } from '@espalier/spec';
import { describe, expect, it } from 'vitest';
import { grpo } from './algorithm';
import { EntropyController } from './entropy-control';
import { policyLoss } from './loss';
import { policyObjective } from './objective';

const options = { entropyCoef: 0.1, entropyCoefMin: 0, entropyCoefMax: 0.125, entropyCoefDelta: 0.02, entropyTarget: 1 };
const logps = Float32Array.of(-1, -2, -0.5);
const batch: TokenBatch = {
  tokens: new Int32Array(4), offsets: Int32Array.of(0, 4), prefixOf: Int32Array.of(-1), actionIndex: Int32Array.of(1, 2, 3),
  columns: { advantages: Float32Array.of(1, 1, 1) }, normalizer: { tokens: 3, sequences: 1 },
};

describe('EntropyController', () => {
  it('moves after each step, and counts only after a step at or below the target', () => {
    const controller = new EntropyController(options);
    const step = (entropy: number) => {
      const before = controller.applied;
      controller.observe({ entropy: 3 * entropy, active: 3, tokens: 3 }, 3);
      return [before, controller.current];
    };
    expect(step(0.5)).toEqual([0, 0.12000000000000001]); // nothing is known before the first
    expect(step(1)).toEqual([0.12000000000000001, 0.125]); // at the target counts as below; no further than the maximum
    expect(step(1.5)).toEqual([0.125, 0.105]);
    expect(step(1.5)[0]).toBe(0);
    for (let i = 0; i < 10; i++) step(2);
    expect(controller.current).toBe(0);
  });

  it('takes a step for over when all of its tokens were seen', () => {
    const controller = new EntropyController(options);
    controller.observe({ entropy: 0.2, active: 1, tokens: 1 }, 3);
    expect(controller.current).toBe(0.1);
    controller.observe({ entropy: 0.4, active: 2, tokens: 2 }, 3);
    expect(controller.current).toBeCloseTo(0.12, 12);
  });

  it('goes on from its state', () => {
    const [one, other] = [new EntropyController(options), new EntropyController(options)];
    one.observe({ entropy: 1, active: 2, tokens: 2 }, 2);
    other.restore(JSON.parse(JSON.stringify(one.state())) as ReturnType<typeof one.state>);
    expect([other.applied, other.current]).toEqual([one.applied, one.current]);
    other.restore(new EntropyController(options).state());
    expect(other.applied).toBe(0);
  });
});

describe('policyObjective with a controller', () => {
  it('gives the loss of the coefficient that counts now', () => {
    const controller = new EntropyController(options);
    const objective = policyObjective({ lossType: 'dapo' }, controller);
    const entropy = Float32Array.of(0.5, 0.25, 0.75);
    const first = objective.evaluate({ logps, entropy }, batch);
    expect(first.loss).toBe(-1);
    expect(first.grads.entropy).toBeUndefined();
    expect(first.metrics.entropy_coef.sum / first.metrics.entropy_coef.weight).toBeCloseTo(0.12, 12);
    const second = objective.evaluate({ logps, entropy }, batch);
    const expected = policyLoss({ logps: [[-1, -2, -0.5]], entropy: [[0.5, 0.25, 0.75]], advantages: [1] }, { lossType: 'dapo', entropyCoef: 0.12 });
    expect(second.loss).toBeCloseTo(expected.loss, 12);
    expect([...second.grads.entropy!]).toEqual(expected.grads.entropy![0].map(Math.fround));
    expect(second.metrics.policy_loss.sum / second.metrics.policy_loss.weight).toBe(-1);
  });

  it('is part of what a checkpoint keeps', () => {
    const algorithm = grpo({ useAdaptiveEntropy: true, entropyCoef: 0.3 });
    expect('state' in algorithm && algorithm.state()).toEqual({ coefficient: 0.3, lastEntropy: null });
    expect('state' in grpo()).toBe(false);
  });
});
