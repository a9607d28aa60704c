import type { AnyStage } from '@espalier/spec';
import { describeChecks, suiteTitle, type SuiteOptions } from '../describe-checks';
import { stageChecks } from './checks';
import { stageSubject, type StageOptions } from './subject';

/**
 * The conformance suite of stages: each check runs the stage once or twice in a temporary folder, so let it be a small one.
 * @param stage the stage, or what makes one
 * @example
 * describeStage(() => filterRows({ keep: 'short' }), { input: async (dir) => ({ rows: await writeRows(dir) }) });
 */
export function describeStage(stage: AnyStage | (() => AnyStage | Promise<AnyStage>), options: StageOptions & SuiteOptions<keyof typeof stageChecks> = {}): void {
  describeChecks(suiteTitle('stage', stage, options.title), stageSubject(stage, options), stageChecks, options);
}
