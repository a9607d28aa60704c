import { afterAll } from 'vitest';
import { defaultRewardSamples, describeRewardFunction, rewardSample } from '@espalier/testkit';
import { compilesReward, openSandbox, testsReward } from './index';

const sandbox = openSandbox({ workers: 2 });
afterAll(() => sandbox.close());

const row = { entry: 'add', signature: 'function add(a: number, b: number): number', tests: [{ args: [2, 3], expected: 5 }] };
const samples = [
  ...defaultRewardSamples(),
  ...['  return a + b;\n}', '```ts\nconst add = (a: number, b: number) => a * b;\n```', '```ts\nconst add = (\n```', ''].map((completion) => rewardSample({ completion, row })),
];
describeRewardFunction(() => compilesReward({ sandbox }), { title: 'reward function "compiles"', samples });
describeRewardFunction(() => testsReward({ sandbox }), { title: 'reward function "tests"', samples });
