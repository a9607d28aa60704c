import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { lossTypes, policyLoss, type PolicyLossInputs, type PolicyLossOptions } from './loss';

// TRL's numbers for these inputs: ../fixtures/README.md
const golden = JSON.parse(readFileSync(new URL('../fixtures/losses-trl-1.16.0.json', import.meta.url), 'utf8')) as Record<string, [number, Record<string, number>]>;
const setup: PolicyLossInputs = {
  logps: [[-1, -2, -0.5], [-1.5, -0.7, 0]],
  oldLogps: [[-1.2, -1.9, -1.1], [-1.1, -1, 0]],
  refLogps: [[-1.1, -2.2, -0.6], [-1.4, -0.9, 0]],
  entropy: [[1, 1, 1], [1, 1, 1]],
  mask: [[1, 1, 1], [1, 1, 0]],
  advantages: [1, -0.5],
};
const base: PolicyLossOptions = { epsilon: 0.2, maxCompletionLength: 4 };

const variants: [string, PolicyLossOptions][] = [
  ['grpo/grpo', { lossType: 'grpo' }],
  ['grpo/bnpo', { lossType: 'bnpo' }],
  ['grpo/dr_grpo', { lossType: 'dr_grpo' }],
  ['grpo/dapo', { lossType: 'dapo' }],
  ['grpo/sapo', { lossType: 'sapo' }],
  ['grpo/cispo cap2', { lossType: 'cispo', epsilonHigh: 2 }],
  ['grpo/vespo', { lossType: 'vespo' }],
  ['grpo/gspo(sequence,grpo)', { lossType: 'grpo', importanceSamplingLevel: 'sequence' }],
  ['grpo/luspo(sequence)', { lossType: 'luspo', importanceSamplingLevel: 'sequence' }],
  ['grpo/grpo beta.1 biascorr', { lossType: 'grpo', beta: 0.1, useBiasCorrectionKl: true }],
  ['grpo/grpo beta.1 plain k3', { lossType: 'grpo', beta: 0.1, useBiasCorrectionKl: false }],
  ['grpo/grpo delta1.2', { lossType: 'grpo', delta: 1.2 }],
  ['grpo/grpo offpolicy thr -0.05 (drops seq 2 iff mean KL > thr)', { lossType: 'grpo', offPolicyMaskThreshold: -0.05 }],
];

describe('TRL 1.16.0', () => {
  it('every golden variant is covered', () => {
    expect(variants.map(([name]) => name).sort()).toEqual(Object.keys(golden).sort());
  });

  it.each(variants)('%s: loss and metrics', (name, options) => {
    const { loss, metrics } = policyLoss(setup, { ...base, ...options });
    const [expected, expectedMetrics] = golden[name];
    expect(Math.abs(loss - expected)).toBeLessThanOrEqual(1e-6 * Math.max(1, Math.abs(expected)));
    expect(Object.keys(metrics).sort()).toEqual(Object.keys(expectedMetrics).sort());
    for (const [key, value] of Object.entries(expectedMetrics)) expect(metrics[key], key).toBeCloseTo(value, 5);
  });
});

/** Losses whose weights are constants by design: their derivative is that of the weighted log-probs. */
const surrogate = new Set<string>(['cispo', 'vespo']);

function numericGradient(inputs: PolicyLossInputs, options: PolicyLossOptions, name: 'logps' | 'oldLogps' | 'refLogps' | 'entropy', r: number, t: number): number {
  const at = (h: number) => {
    const rows = inputs[name]!.map((row) => Array.from(row));
    rows[r][t] += h;
    return policyLoss({ ...inputs, [name]: rows }, options).loss;
  };
  return (at(1e-6) - at(-1e-6)) / 2e-6;
}

const smooth: PolicyLossInputs = {
  logps: [[-1.03, -2.11, -0.52], [-1.49, -0.71, 7], [-0.3, -0.9, -2.2]],
  oldLogps: [[-1.2, -1.9, -1.1], [-1.1, -1.02, 9], [-0.42, -0.8, -2.1]],
  refLogps: [[-1.1, -2.2, -0.6], [-1.4, -0.9, 1], [-0.5, -0.7, -2.5]],
  entropy: [[0.2, 1.3, 0.7], [0.9, 0.4, 5], [1.1, 0.6, 0.3]],
  mask: [[1, 1, 1], [1, 1, 0], [1, 0, 1]],
  advantages: [1, -0.5, 0.7],
};

const gradientCases: PolicyLossOptions[] = lossTypes
  .filter((lossType) => !surrogate.has(lossType))
  .flatMap((lossType): PolicyLossOptions[] => [
    { lossType },
    { lossType, beta: 0.1, delta: 1.4 },
    { lossType, beta: 0.1, useBiasCorrectionKl: false, entropyCoef: 0.3, topEntropyQuantile: 0.6 },
    { lossType, importanceSamplingLevel: 'sequence', beta: 0.05, entropyCoef: 0.1 },
    { lossType, offPolicyMaskThreshold: 0.01 },
  ]);

describe('gradients', () => {
  it.each(gradientCases)('finite differences: %j', (options) => {
    const all = { ...base, ...options };
    const { grads } = policyLoss(smooth, all);
    for (const name of ['logps', 'oldLogps', 'refLogps', 'entropy'] as const) {
      grads[name]!.forEach((row, r) => row.forEach((g, t) => expect(g, `${name}[${r}][${t}]`).toBeCloseTo(numericGradient(smooth, all, name, r, t), 7)));
    }
    (grads.advantages as number[]).forEach((g, r) => {
      const at = (h: number) => policyLoss({ ...smooth, advantages: (smooth.advantages as number[]).map((a, i) => (i === r ? a + h : a)) }, all).loss;
      expect(g).toBeCloseTo((at(1e-6) - at(-1e-6)) / 2e-6, 7);
    });
  });

  it.each(['cispo', 'vespo'] as const)('%s: the weight of a token is a constant', (lossType) => {
    // The loss is −Σ weight·A·logp / tokens, so gradient × logp summed over tokens gives it back.
    const { loss, grads } = policyLoss(smooth, { lossType, epsilonHigh: 1.1 });
    const dot = grads.logps.reduce((total, row, r) => total + row.reduce((s, g, t) => s + g * smooth.logps[r][t], 0), 0);
    expect(dot).toBeCloseTo(loss, 12);
    if (lossType === 'cispo') {
      // token 2 of row 0: ratio e^{0.58} is capped at 1.1
      expect(grads.logps[0][2]).toBeCloseTo((-1.1 * 1) / 7, 12);
      expect(grads.logps[0][0]).toBeCloseTo(-Math.min(Math.exp(0.17), 1.1) / 7, 12);
    }
  });

  it('masked entries get gradient 0 and may hold anything', () => {
    const { grads, loss } = policyLoss({ ...setup, logps: [[-1, -2, -0.5], [-1.5, -0.7, NaN]] }, base);
    expect(Number.isFinite(loss)).toBe(true);
    expect(grads.logps[1][2]).toBe(0);
  });
});

describe('by hand', () => {
  const one = (ratio: number, advantage: number, options: PolicyLossOptions) => policyLoss({ logps: [[Math.log(ratio)]], oldLogps: [[0]], advantages: [advantage] }, options).loss;

  it.each([[0.5, 1, -0.5], [1, 1, -1], [1.5, 1, -1.2], [0.5, -1, 0.8], [1, -1, 1], [1.5, -1, 1.5]])('clipping at ratio %d, advantage %d: %d', (ratio, advantage, expected) => {
    expect(one(ratio, advantage, { lossType: 'grpo' })).toBeCloseTo(expected, 12);
  });
  it.each([[0.5, 1, -1.51016268], [1, 1, -2], [1.5, 1, -2.48983732], [0.5, -1, 1.41593833], [1, -1, 1.9047619], [1.5, -1, 2.39358548]])('sapo at ratio %d, advantage %d: %d', (ratio, advantage, expected) => {
    expect(one(ratio, advantage, { lossType: 'sapo' })).toBeCloseTo(expected, 7);
  });
  it.each([[0.5, 1, 1.12042227], [1, 1, 1], [2, 1, 0.19914827], [0.5, -1, 0.33978523], [1, -1, 1], [2, -1, 1.08268227]])('vespo weight at ratio %d, advantage %d: %d', (ratio, advantage, expected) => {
    const { metrics } = policyLoss({ logps: [[Math.log(ratio)]], oldLogps: [[0]], advantages: [advantage] }, { lossType: 'vespo' });
    expect(metrics['vespo/phi_seq_mean']).toBeCloseTo(expected, 7);
  });
  it('the clip is asymmetric with epsilonHigh', () => {
    expect(one(1.5, 1, { epsilonHigh: 0.28 })).toBeCloseTo(-1.28, 12);
    expect(one(0.5, -1, { epsilonHigh: 0.28 })).toBeCloseTo(0.8, 12);
  });
  it('without old log-probs the ratio is 1 and the gradient is −A / tokens', () => {
    const { loss, grads } = policyLoss({ logps: [[-1, -2], [-3, -4]], advantages: [1, -1] }, {});
    expect(loss).toBe(0);
    expect(grads.logps).toEqual([[-0.25, -0.25], [0.25, 0.25]]);
  });
});

describe('entropy', () => {
  it.each(lossTypes)('%s: (policy_loss − loss) / entropy is the coefficient', (lossType) => {
    const { loss, metrics } = policyLoss(smooth, { ...base, lossType, entropyCoef: 0.5 });
    expect((metrics.policy_loss - loss) / metrics.entropy).toBeCloseTo(0.5, 10);
  });
  it('keeps the tokens at or over the quantile, padding never counts', () => {
    // 10 live tokens 0.1 … 1.0, threshold 0.8: the two highest
    const entropy = [[0.1, 0.2, 0.3, 0.4, 0.5, 99], [0.6, 0.7, 0.8, 0.9, 1, 99]];
    const mask = [[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 0]];
    const logps = entropy.map((row) => row.map(() => -1));
    const live = (topEntropyQuantile: number) => policyLoss({ logps, entropy, mask, advantages: [1, 1] }, { topEntropyQuantile }).grads.logps.flat().flatMap((g, i) => (g === 0 ? [] : [i]));
    expect(live(0.2)).toEqual([9, 10]);
    expect(live(1)).toHaveLength(10);
    expect(live(1 - 1)).toEqual([10]); // threshold 1: only the maximum
    expect(policyLoss({ logps, entropy, mask: mask.map((row) => row.map(() => 0)), advantages: [1, 1] }, { topEntropyQuantile: 0.2 }).loss).toBe(0);
  });
});

describe('off-policy mask', () => {
  it.each([[1, 2, true], [-1, 0.5, true], [-1, 2, false]])('advantage %d with KL %d kept: %s', (advantage, kl, kept) => {
    const { grads } = policyLoss(
      { logps: [[-3, -3, 0]], oldLogps: [[-3, -3, 0]], samplingLogps: [[-3 + kl, -3 + kl, 1e9]], mask: [[1, 1, 0]], advantages: [advantage] },
      { offPolicyMaskThreshold: 1 },
    );
    expect(grads.logps[0][0] !== 0).toBe(kept);
  });
});

describe('parts of a step add up', () => {
  it.each(lossTypes)('%s: row by row with the step\'s normalizer is the whole', (lossType) => {
    const options = { ...base, lossType, beta: 0.1, entropyCoef: 0.2 };
    const whole = policyLoss(smooth, options);
    const normalizer = { tokens: 7, sequences: 3 };
    const parts = [0, 1, 2].map((r) => {
      const row = <T>(values: ArrayLike<T>) => [values[r]];
      return policyLoss(
        { logps: row(smooth.logps), oldLogps: row(smooth.oldLogps!), refLogps: row(smooth.refLogps!), entropy: row(smooth.entropy!), mask: row(smooth.mask!), advantages: row(smooth.advantages as number[]), normalizer },
        options,
      );
    });
    expect(parts.reduce((total, part) => total + part.loss, 0)).toBeCloseTo(whole.loss, 12);
    parts.forEach((part, r) => part.grads.logps[0].forEach((g, t) => expect(g).toBeCloseTo(whole.grads.logps[r][t], 12)));
  });
});

describe('bad input', () => {
  it('is named', () => {
    expect(() => policyLoss({ logps: [[-1]], advantages: [1, 2] })).toThrow('`advantages` has 2 numbers for 1 completions');
    expect(() => policyLoss({ logps: [[NaN]], advantages: [1] })).toThrow('`logps`[0][0] is NaN');
    expect(() => policyLoss({ logps: [[-1]], advantages: [NaN] })).toThrow('`advantages`[0] is NaN');
    expect(() => policyLoss({ logps: [[-1]], advantages: [1] }, { beta: 0.1 })).toThrow('needs `refLogps`');
    expect(() => policyLoss({ logps: [[-1]], advantages: [1] }, { lossType: 'ppo' as never })).toThrow('one of grpo, dr_grpo');
    expect(() => policyLoss({ logps: [[-1]], advantages: [1] }, { lossType: 'dr_grpo' })).toThrow('max_completion_length');
    expect(() => policyLoss({ logps: [[-1]], oldLogps: [[-1, -1]], advantages: [1] })).toThrow('row 0 of `oldLogps` has 2 entries');
    expect(() => policyLoss({ logps: [[-1]], advantages: [1] }, { importanceSamplingLevel: 'word' as never })).toThrow('importance_sampling_level');
  });
  it('a batch that is masked whole has loss 0', () => {
    for (const lossType of lossTypes) expect(policyLoss({ ...setup, mask: [[0, 0, 0], [0, 0, 0]] }, { ...base, lossType }).loss).toBe(0);
  });
});
