import { describeChecks, suiteTitle, type SuiteOptions } from '../describe-checks';
import type { EnvironmentLike, EnvironmentTurn } from './environment';
import { environmentChecks } from './checks';
import { environmentSubject, type EnvironmentOptions, type EnvironmentSubject } from './subject';

/**
 * The conformance suite of environments.
 * @param environment what makes one: checks take several at a time
 * @example
 * describeEnvironment(() => guessTheNumber(), { rows: [{ max: 8 }], reply: (_, step) => ({ role: 'assistant', content: String(step + 1) }), maxSteps: 8 });
 */
export function describeEnvironment<Row = Record<string, unknown>, Turn extends EnvironmentTurn = EnvironmentTurn>(environment: () => EnvironmentLike<Row, Turn> | Promise<EnvironmentLike<Row, Turn>>, options: EnvironmentOptions<Row, Turn> & SuiteOptions<keyof typeof environmentChecks> = {}): void {
  describeChecks(suiteTitle('environment', environment, options.title), environmentSubject(environment, options) as unknown as EnvironmentSubject, environmentChecks, options);
}
