import type { Tracker } from '@espalier/spec';
import { describeChecks, type SuiteOptions } from '../describe-checks';
import { trackerChecks } from './checks';
import { trackerSubject, type TrackerOptions } from './subject';

/**
 * The conformance suite of trackers. A call that throws ends the run: a tracker that may fail without harm catches that itself.
 * @param create makes a tracker for a run in the folder that it is given
 * @example
 * describeTracker((outputDir) => csvTracker({ path: join(outputDir, 'metrics.csv') }), { read: readCsv });
 */
export function describeTracker(create: (outputDir: string) => Tracker | Promise<Tracker>, options: TrackerOptions & SuiteOptions<keyof typeof trackerChecks> = {}): void {
  describeChecks(options.title ?? 'tracker', trackerSubject(create, options), trackerChecks, options);
}
