// npm install @espalier/rewards
import { composeRewards, formatReward, numericReward } from '@espalier/rewards';
import type { RewardSample } from '@espalier/spec';

const reward = composeRewards([numericReward(), { reward: formatReward(), weight: 0.2 }]);

/** Completions from anywhere: a file, an API, a colleague. No model is here. */
const completions = ['<think>7 and 5 is 12</think> 12', 'It is 12.', 'It is 13.'];
const samples = completions.map((completion): RewardSample => ({ prompt: 'What is 7 + 5?', completion, completionTokens: new Int32Array(8), finishReason: 'stop', group: 'a', row: { answer: '12' } }));

const scores = await reward.score(samples, { step: 0 });
scores.forEach((score, i) => console.log(`${JSON.stringify(score)}  ${completions[i]}`));
