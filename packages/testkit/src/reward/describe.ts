import type { RewardFunction } from '@espalier/spec';
import type { PartOrFactory } from '../check';
import { describeChecks, suiteTitle, type SuiteOptions } from '../describe-checks';
import { rewardFunctionChecks } from './checks';
import { rewardFunctionSubject, type RewardFunctionOptions } from './subject';

/**
 * The conformance suite of reward functions.
 * @param reward the function, or what makes one; a function that keeps state must come as a factory
 * @example
 * describeRewardFunction(() => politeReward(), { samples: [rewardSample({ completion: 'Please.' })] });
 */
export function describeRewardFunction<Row = Record<string, unknown>>(reward: PartOrFactory<RewardFunction<Row>>, options: RewardFunctionOptions<Row> & SuiteOptions<keyof typeof rewardFunctionChecks> = {}): void {
  describeChecks(suiteTitle('reward function', reward, options.title), rewardFunctionSubject(reward as PartOrFactory<RewardFunction>, options as RewardFunctionOptions), rewardFunctionChecks, options);
}
