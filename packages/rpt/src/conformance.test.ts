import { defineAlgorithm, defineObjective, type Objective } from '@espalier/spec';
import { defaultRewardSamples, describeAlgorithm, describeObjective, describeRewardFunction, rewardSample } from '@espalier/testkit';
import { klObjective, withKl } from './kl';
import { prefixMatchReward } from './prefix-match';
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
