import { defineJudge } from '@espalier/spec';
import { describeObjective, describeRewardFunction, type ColumnRule } from '@espalier/testkit';
import { cpoObjective, dpoLossTypes, dpoObjective, judgeReward, ktoObjective, orpoObjective, type CPOLossOptions, type DPOLossOptions } from './index';

const uniform = (low: number, high: number): ColumnRule => ({ random }) => random(low, high);
const smoothed = ['exo_pair', 'robust', 'aot', 'aot_unpaired'];
const variants: DPOLossOptions[] = [...dpoLossTypes.map((lossType) => ({ lossType, beta: 0.3, labelSmoothing: smoothed.includes(lossType) ? 0.1 : 0 })), { lossType: 'ipo', ldAlpha: 0.4 }, { fDivergenceType: 'js_divergence' }, { lossType: ['sigmoid', 'sft'], lossWeights: [0.5, 1] }];
for (const options of variants) describeObjective(dpoObjective(options), { title: `objective dpo ${JSON.stringify(options)}`, kind: 'pairs', columns: { refLogps: uniform(-2.5, -0.3) } });

for (const options of [{}, { lossType: 'simpo', beta: 2 }, { lossType: 'alphapo', alpha: 0.3 }, { lossType: 'hinge' }] as CPOLossOptions[]) describeObjective(cpoObjective(options), { title: `objective cpo ${JSON.stringify(options)}` });
describeObjective(orpoObjective({ beta: 0.4 }), { actions: 'all' });
for (const lossType of ['kto', 'apo_zero_unpaired'] as const) describeObjective(ktoObjective({ lossType, beta: 0.4, undesirableWeight: 1.3 }), { title: `objective kto ${lossType}`, columns: { labels: ({ sequence }) => sequence % 2, kl: () => 0.25 }, wholeMetrics: ['rewards/margins'] });

/** Prefers what comes first in the alphabet. */
const alphabet = defineJudge({ name: 'alphabet', compare: async ({ first, second }) => ({ probability: first === second ? 0.5 : first < second ? 0.8 : 0.2 }) });
describeRewardFunction(judgeReward(alphabet));
