import type { Environment } from '@espalier/spec';
import { describeChecks, suiteTitle, type SuiteOptions } from '../describe-checks';
import { environmentChecks } from './checks';
import { environmentSubject, type EnvironmentOptions, type EnvironmentSubject } from './subject';

/**
 * The conformance suite of environments.
 * @param environment what makes one: checks take several at a time
 * @example
 * describeEnvironment(() => guessTheNumber(), { rows: [{ max: 8 }], reply: (_, step) => ({ role: 'assistant', content: String(step + 1) }), maxSteps: 8 });
 */
export function describeEnvironment<Row = Record<string, unknown>>(environment: () => Environment<Row> | Promise<Environment<Row>>, options: EnvironmentOptions<Row> & SuiteOptions<keyof typeof environmentChecks> = {}): void {
  describeChecks(suiteTitle('environment', environment, options.title), environmentSubject(environment, options) as unknown as EnvironmentSubject, environmentChecks, options);
}
