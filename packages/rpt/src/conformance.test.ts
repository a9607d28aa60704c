import { defineAlgorithm, defineObjective, type Objective } from '@espalier/spec';
import { actionRows } from '@espalier/objectives';
import { defaultRewardSamples, describeAlgorithm, describeObjective, describeRewardFunction, rewardSample, type ColumnRule, type ObjectiveOptions } from '@espalier/testkit';
import { ComputeMeter } from './control/compute-meter';
import { meteredAlgorithm } from './control/metered-algorithm';
import { thoughtAlgorithm, thoughtObjective } from './information-gain/thought-algorithm';
import { klObjective, withKl } from './kl';
import { goldWeights } from './loss';
import { segmentJudgeReward } from './next-segment/judge-reward';
import { segmentSimilarityReward } from './next-segment/similarity-reward';
import { precisionObjective } from './precision/precision-objective';
import { prefixMatchReward } from './prefix-match';
import { rankedPairs } from './ranked-pairs';
import { packTrajectories } from './trajectory-batch';

/** −advantage · logp, which leaves out the actions of advantage 0. */
const policyGradient: Objective = defineObjective({
  name: 'pg', needs: ['logps'], coupling: 'token',
  evaluate: ({ logps }, { columns, normalizer }) => ({
    loss: -logps!.reduce((sum, logp, a) => sum + logp * columns.advantages[a], 0) / Math.max(normalizer.tokens, 1),
    grads: { logps: columns.advantages.map((a) => -a / Math.max(normalizer.tokens, 1)) },
    metrics: {},
  }),
  inert: ({ columns }) => Uint8Array.from(columns.advantages, (advantage) => Number(advantage === 0)),
});

for (const estimator of ['k2', 'k3'] as const) {
  describeObjective(klObjective(policyGradient, estimator, () => 0.3), { title: `objective "pg+kl", ${estimator}`, columns: { advantages: ({ action, random }) => (action % 5 === 2 ? 0 : random(-1, 1)) } });
}

const inner = defineAlgorithm({
  name: 'inner', objective: policyGradient, numIterations: 1, needsReference: false,
  async experience(groups) {
    const { batch, owner } = packTrajectories(groups);
    const total = (rewards: Readonly<Record<string, unknown>>) => Object.values(rewards).reduce<number>((sum, reward) => sum + (typeof reward === 'number' ? reward : 0), 0);
    batch.columns.advantages = Float32Array.from(owner, ({ rewards }) => total(rewards));
    return { batch, metrics: {} };
  },
});
for (const placement of ['loss', 'reward'] as const) describeAlgorithm(() => withKl(inner, { coefficient: 0.1, placement, estimator: placement === 'loss' ? 'k3' : 'k1', adaptive: { target: 1 } }), { title: `an algorithm with KL in the ${placement}` });

describeRewardFunction(() => prefixMatchReward(), { samples: [...defaultRewardSamples(), rewardSample({ completion: '5', row: { answer: '5', continuation: '5 apples' } })] });

const uniform = (low: number, high: number): ColumnRule => ({ random }) => random(low, high);
const bySequence: ColumnRule = ({ sequence }) => [1.2, 0, -0.7][sequence % 3];
describeObjective(thoughtObjective({ epsilon: 0.2 }), { title: 'objective information_gain', columns: { oldLogps: uniform(-1.8, -0.9), advantages: bySequence } });
describeObjective(thoughtObjective(), {
  title: 'objective information_gain on policy', columns: { oldLogps: null, advantages: bySequence },
  surrogate: (outputs, { logps }, batch) => thoughtObjective().evaluate(outputs, { ...batch, columns: { ...batch.columns, oldLogps: logps! } }).loss,
});

const solutions: Record<string, ColumnRule> = { trained: ({ sequence }) => Number(sequence % 3 !== 1), correct: ({ sequence }) => sequence % 2 };
/** GOLD's weights are constants. */
const held = (valueCoef: number): ObjectiveOptions['surrogate'] => (outputs, anchor, batch) => {
  const weights = goldWeights(anchor.logps!).values;
  const gold = -outputs.logps!.reduce((sum, logp, a) => sum + weights[a] * batch.columns.trained[a] * logp, 0) / batch.normalizer.tokens;
  if (valueCoef === 0) return gold;
  const { offsets, count } = actionRows(batch);
  let value = 0;
  for (let r = 0; r < count; r++) {
    const last = offsets[r + 1] - 1;
    if (offsets[r + 1] > offsets[r]) value += Math.log1p(Math.exp(outputs.scores![last])) - batch.columns.correct[last] * outputs.scores![last];
  }
  return gold + (valueCoef * value) / batch.normalizer.sequences;
};
for (const valueCoef of [0, 0.5]) describeObjective(precisionObjective({ valueCoef }), { title: `objective precision, value_coef ${valueCoef}`, columns: solutions, weightColumn: null, surrogate: held(valueCoef) });

describeAlgorithm(() => thoughtAlgorithm({ severalUpdates: true }), { title: 'algorithm information_gain' });
describeAlgorithm(() => rankedPairs(inner), { title: 'an algorithm on ranked pairs' });
describeAlgorithm(() => meteredAlgorithm(withKl(inner, { coefficient: 0.1 }), new ComputeMeter()), { title: 'an algorithm that is metered' });

const segment = { context: 'The dog ran away.', segments: ['The boy looked for it.'] };
describeRewardFunction(() => segmentSimilarityReward(), { samples: [...defaultRewardSamples(), rewardSample({ completion: 'a boy looked', row: { answer: '5', ...segment } })] });
describeRewardFunction(() => segmentJudgeReward({ judge: { complete: async (prompts) => prompts.map(() => 'Verdict: 1') } }), { samples: [...defaultRewardSamples(), rewardSample({ completion: 'a boy looked', row: { answer: '5', ...segment } })] });
