import type { Objective } from '@espalier/spec';
import type { PartOrFactory } from '../check';
import { describeChecks, suiteTitle, type SuiteOptions } from '../describe-checks';
import { objectiveChecks } from './checks';
import { objectiveSubject, type ObjectiveOptions } from './subject';

/**
 * The conformance suite of objectives: derivatives against finite differences, masking, additivity over what the coupling allows, order, determinism.
 * @param objective the objective, or what makes one
 * @example
 * describeObjective(hingeObjective({ margin: 1 }), { columns: { labels: ({ sequence }) => sequence % 2 } });
 */
export function describeObjective(objective: PartOrFactory<Objective>, options: ObjectiveOptions & SuiteOptions<keyof typeof objectiveChecks> = {}): void {
  describeChecks(suiteTitle('objective', objective, options.title), objectiveSubject(objective, options), objectiveChecks, options);
}
