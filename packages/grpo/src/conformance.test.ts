import { describeAlgorithm, describeObjective, type ColumnRule, type ObjectiveOptions } from '@espalier/testkit';
import { grpo } from './algorithm';
import type { PolicyLossOptions } from './loss';
import { policyObjective } from './objective';
import { reinforcePlusPlus } from './reinforce';
import { rloo } from './rloo';

const uniform = (low: number, high: number): ColumnRule => ({ random }) => random(low, high);
/** Old log-probs near the current ones, so that not all ratios are clipped; some advantages are 0. */
const columns = { oldLogps: uniform(-1.8, -0.9), samplingLogps: uniform(-1.8, -0.9), importanceSamplingRatio: uniform(0.5, 1.5), advantages: ({ action, random }) => (action % 5 === 2 ? 0 : random(-1.5, 1.5)) } satisfies Record<string, ColumnRule>;
// Extremes, and a ratio of sums: averaged over micro-batches, as in TRL
const wholeMetrics = ['clip_ratio/low_min', 'clip_ratio/high_max', 'sampling/sampling_logp_difference/max', 'sampling/effective_sample_size'];

/** With the given old log-probs the loss is differentiable as it stands. */
const plain: PolicyLossOptions[] = [
  { lossType: 'grpo' }, { lossType: 'bnpo', delta: 1.5 }, { lossType: 'dr_grpo', maxCompletionLength: 6 }, { lossType: 'dapo', epsilonHigh: 0.28 }, { lossType: 'sapo' }, { lossType: 'luspo' },
  { lossType: 'dapo', beta: 0.1 }, { lossType: 'dapo', beta: 0.1, useBiasCorrectionKl: false, entropyCoef: 0.01 }, { lossType: 'grpo', importanceSamplingLevel: 'sequence' }, { lossType: 'rloo' },
  { lossType: 'dapo', offPolicyMaskThreshold: 0.2 }, { lossType: 'dapo', topEntropyQuantile: 0.5, entropyCoef: 0.02 },
];
for (const options of plain) describeObjective(policyObjective(options), { title: `objective ${JSON.stringify(options)}`, columns, wholeMetrics });

/** Without old log-probs the current ones stand for them, as constants. */
for (const options of [{ lossType: 'grpo' }, { lossType: 'dapo', beta: 0.1 }, { lossType: 'rloo' }] as const) {
  describeObjective(policyObjective(options), {
    title: `objective ${JSON.stringify(options)} on policy`, columns: { ...columns, oldLogps: null }, wholeMetrics,
    surrogate: (outputs, { logps }, batch) => policyObjective(options).evaluate(outputs, { ...batch, columns: { ...batch.columns, oldLogps: logps! } }).loss,
  });
}

/** CISPO (2506.13585 eq. 4): −sg(min(ρ, ε_high))·A·logp, the capped ratio being a constant. */
const cispo: ObjectiveOptions['surrogate'] = ({ logps }, anchor, { columns: c, normalizer }) =>
  -logps!.reduce((sum, logp, a) => sum + Math.min(Math.exp(anchor.logps![a] - c.oldLogps[a]), 1.3) * c.advantages[a] * logp * c.importanceSamplingRatio[a], 0) / normalizer.tokens;
describeObjective(policyObjective({ lossType: 'cispo', epsilonHigh: 1.3 }), { title: 'objective cispo', columns, surrogate: cispo });
describeObjective(policyObjective({ lossType: 'vespo' }), { title: 'objective vespo', columns, except: { 'gives derivatives that finite differences confirm': 'its weights are constants, which parity with TRL holds: loss-parity.test.ts' } });

const size = { numGenerations: 3, perDeviceTrainBatchSize: 6 };
for (const [name, make] of Object.entries({
  grpo: () => grpo(size),
  'grpo with a KL term and old log-probs': () => grpo({ ...size, beta: 0.1, oldLogps: 'recompute', maskTruncatedCompletions: true }),
  'grpo, corrected, with two iterations': () => grpo({ ...size, importanceSamplingCorrection: true, numIterations: 2 }),
  rloo: () => rloo({ ...size, beta: 0.05 }),
  'reinforce++': () => reinforcePlusPlus({ ...size, beta: 0.05 }),
  'reinforce++ with a baseline': () => reinforcePlusPlus({ ...size, beta: 0, baseline: true }),
})) describeAlgorithm(make, { title: `algorithm ${name}` });
