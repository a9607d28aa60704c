import type { Judge } from '@espalier/spec';
import type { PartOrFactory } from '../check';
import { describeChecks, suiteTitle, type SuiteOptions } from '../describe-checks';
import { judgeChecks } from './checks';
import { judgeSubject, type JudgeOptions } from './subject';

/**
 * The conformance suite of judges.
 * @param judge the judge, or what makes one
 * @example
 * describeJudge(myJudge(model), { swapTolerance: 0.2 });
 */
export function describeJudge(judge: PartOrFactory<Judge>, options: JudgeOptions & SuiteOptions<keyof typeof judgeChecks> = {}): void {
  describeChecks(suiteTitle('judge', judge, options.title), judgeSubject(judge, options), judgeChecks, options);
}
