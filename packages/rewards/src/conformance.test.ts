import { defineReward } from '@espalier/spec';
import { defaultRewardSamples, describeRewardFunction, rewardSample } from '@espalier/testkit';
import { composeRewards, cosineReward, lengthReward, numericReward, rewardByName, rewardNames } from './index';

const options: Record<string, Record<string, unknown>> = { length: { maxLength: 8 }, cosine: { maxLength: 8 } };
const samples = [...defaultRewardSamples(), rewardSample({ completion: '1,234.0', row: { answer: 1234 } }), rewardSample({ completion: '<think>a</think> 5', row: { answer: ['5', 'five'] }, tokens: 40 })];

for (const name of rewardNames) describeRewardFunction(() => rewardByName(name, options[name] ?? {}), { title: `reward function "${name}"`, samples });

describeRewardFunction(cosineReward({ maxLength: 16, correct: lengthReward({ maxLength: 4 }) }), { title: 'cosine over another reward', samples });

/** Keeps count, gives credit by token, says why. */
function counting() {
  let seen = 0;
  return defineReward({
    name: 'counting',
    score: async (scored, { evaluation }) => {
      if (!evaluation) seen += scored.length;
      return scored.map(({ completionTokens }) => ({ total: seen, perToken: new Float32Array(completionTokens.length).fill(0.5), note: `${seen} seen` }));
    },
    state: () => ({ seen }),
    restore: (state) => void ({ seen } = state as { seen: number }),
  });
}
describeRewardFunction(() => composeRewards([{ reward: numericReward(), weight: 2 }, counting()]), { title: 'a composed reward that keeps state', samples });
