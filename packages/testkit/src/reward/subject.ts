import type { RewardFunction, RewardSample } from '@espalier/spec';
import { factoryOf, type PartOrFactory } from '../check';
import { defaultRewardSamples } from './samples';

export interface RewardFunctionOptions<Row = Record<string, unknown>> {
  /** What is scored. Default: `defaultRewardSamples()`. */
  samples?: readonly RewardSample<Row>[];
  /** Largest difference between two rewards that should be the same, relative to the larger of 1 and the reward. Default 1e-9. */
  tolerance?: number;
  /** Milliseconds in which a call must settle once its signal has fired. Default 2000. */
  patience?: number;
}

export interface RewardFunctionSubject<Row = Record<string, unknown>> extends Required<RewardFunctionOptions<Row>> {
  create(): Promise<RewardFunction<Row>>;
}

/**
 * What the checks of a reward function run on.
 * @example
 * await rewardFunctionChecks['gives the same rewards again'](rewardFunctionSubject(mine));
 */
export function rewardFunctionSubject<Row = Record<string, unknown>>(reward: PartOrFactory<RewardFunction<Row>>, options: RewardFunctionOptions<Row> = {}): RewardFunctionSubject<Row> {
  const { samples = defaultRewardSamples() as unknown as RewardSample<Row>[], tolerance = 1e-9, patience = 2000 } = options;
  return { create: factoryOf(reward), samples, tolerance, patience };
}
