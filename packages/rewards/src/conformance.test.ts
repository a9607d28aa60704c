import { defineReward } from '@espalier/spec';
import { defaultRewardSamples, describeRewardFunction, rewardSample } from '@espalier/testkit';
import { afterAll } from 'vitest';
import { cachedReward, composeRewards, cosineReward, diversityReward, ensembleReward, lengthReward, numericReward, resilientReward, rewardByName, rewardNames } from './index';
import { faultyRewardServer } from './remote/test-support';

const server = await faultyRewardServer();
afterAll(() => server.close());

const options: Record<string, Record<string, unknown>> = { length: { maxLength: 8 }, cosine: { maxLength: 8 }, words: { forbid: 'word|6', column: 'must' }, remote: { url: server.url, batchSize: 2 } };
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
describeRewardFunction(() => composeRewards([{ reward: numericReward(), normalize: 'group', gate: 1 }, { reward: counting(), normalize: 'running' }, { reward: lengthReward({ maxLength: 8 }), weight: 0 }]), { title: 'a composed reward that normalises', samples });
describeRewardFunction(() => ensembleReward([numericReward(), counting()], { method: 'uwo' }), { title: 'an ensemble', samples });
describeRewardFunction(() => resilientReward(counting(), { batchSize: 100 }), { title: 'a resilient reward that keeps state', samples });
describeRewardFunction(() => resilientReward(diversityReward({ measure: 'self_bleu' }), { concurrency: 2 }), { title: 'a resilient reward in several calls', samples });
describeRewardFunction(() => cachedReward(numericReward()), { title: 'a cached reward', samples });
