import type { Algorithm } from '@espalier/spec';
import type { PartOrFactory } from '../check';
import { describeChecks, suiteTitle, type SuiteOptions } from '../describe-checks';
import { algorithmChecks } from './checks';
import { algorithmSubject, type AlgorithmOptions } from './subject';

/**
 * The conformance suite of on-policy algorithms, on a learner without a model. The objective has a suite of its own: `describeObjective(algorithm.objective)`.
 * @param algorithm what makes one; each check gets one of its own
 * @example
 * describeAlgorithm(() => mine({ beta: 0.1 }));
 */
export function describeAlgorithm(algorithm: PartOrFactory<Algorithm>, options: AlgorithmOptions & SuiteOptions<keyof typeof algorithmChecks> = {}): void {
  describeChecks(suiteTitle('algorithm', algorithm, options.title), algorithmSubject(algorithm, options), algorithmChecks, options);
}
