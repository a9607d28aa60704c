import { describeAlgorithm, describeObjective, stubLearner, type ColumnRule } from '@espalier/testkit';
import { ppo } from './algorithm';
import { ppoPolicyObjective, ppoSharedObjective, ppoValueObjective } from './objective';

const uniform = (low: number, high: number): ColumnRule => ({ random }) => random(low, high);
const columns = { oldValues: uniform(-0.8, 0.8), returns: uniform(-1, 1), ended: ({ last }) => Number(last), endValues: uniform(-0.8, 0.8), endReturns: uniform(-1, 1) } satisfies Record<string, ColumnRule>;
const options = { cliprange: 0.2, cliprangeValue: 0.2, vfCoef: 0.1, valueAfterEos: true };

describeObjective(ppoPolicyObjective(options));
for (const valueAfterEos of [true, false]) describeObjective(ppoValueObjective({ ...options, valueAfterEos }), { title: `objective "ppo-value", valueAfterEos ${valueAfterEos}`, columns });
describeObjective(ppoSharedObjective({ ...options, cliprangeValue: null }), { title: 'objective "ppo" with a shared trunk', columns });

for (const config of [{}, { klCoef: 0 }, { sharedTrunk: true, klCoef: 0.2, klTarget: 0.1 }, { oldLogps: 'sampler', whitenAdvantages: false, useScoreScaling: true }] as const) {
  describeAlgorithm(() => ppo(config, { critic: stubLearner() }), { title: `algorithm "ppo" ${JSON.stringify(config)}` });
}
