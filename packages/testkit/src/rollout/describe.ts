import type { RolloutEngine } from '@espalier/spec';
import type { PartOrFactory } from '../check';
import { describeChecks, suiteTitle, type SuiteOptions } from '../describe-checks';
import { rolloutEngineChecks } from './checks';
import { rolloutEngineSubject, type RolloutEngineOptions } from './subject';

/**
 * The conformance suite of rollout engines. Every check makes an engine of its own and closes it.
 * @param engine what makes one
 * @example
 * describeRolloutEngine(() => myEngine({ url }), { prompts: [Int32Array.of(1, 15, 20)], except: { 'takes the likeliest tokens at temperature 0': 'the service has no greedy mode' } });
 */
export function describeRolloutEngine(engine: () => RolloutEngine | Promise<RolloutEngine>, options: RolloutEngineOptions & SuiteOptions<keyof typeof rolloutEngineChecks> = {}): void {
  describeChecks(suiteTitle('rollout engine', engine satisfies PartOrFactory<RolloutEngine>, options.title), rolloutEngineSubject(engine, options), rolloutEngineChecks, options);
}
