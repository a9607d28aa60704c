import { describeObjective } from '@espalier/testkit';
import { prmObjective, rewardObjective } from './index';

const extremes = ['min_reward', 'max_reward'];
describeObjective(rewardObjective(), { actions: 'last', wholeMetrics: extremes });
describeObjective(rewardObjective({ centerRewardsCoefficient: 0.01 }), {
  title: 'objective "reward" with margins, soft labels and centering', actions: 'last', wholeMetrics: extremes,
  columns: { margins: ({ random }) => random(0, 0.5), labels: ({ sequence }) => [0.9, 0.6, 0.2, 0.5][sequence % 4] },
});
describeObjective(prmObjective(), { columns: { labels: ({ action }) => action % 2 } });
