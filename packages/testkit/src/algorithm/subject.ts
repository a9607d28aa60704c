import type { Algorithm, ExperienceContext, ScoredTrajectory } from '@espalier/spec';
import { factoryOf, type PartOrFactory } from '../check';
import { stubLearner, type StubLearner } from './stub-learner';
import { sampleGroups } from './sample-groups';

export interface AlgorithmOptions {
  /** Scored trajectories, a group a prompt. Default: `sampleGroups()`, two groups of three. */
  groups?: () => readonly (readonly ScoredTrajectory[])[];
  /** Weights of the rewards. Default: none, all weigh 1. */
  rewardWeights?: Readonly<Record<string, number>>;
  /** Default 8. */
  maxCompletionLength?: number;
  /** Default 1e-5. */
  tolerance?: number;
  /** Milliseconds in which a call must settle once its signal has fired. Default 5000. */
  patience?: number;
}

export interface AlgorithmSubject extends Required<AlgorithmOptions> {
  create(): Promise<Algorithm>;
  /** A learner that gives every output, and what an algorithm is told besides. */
  context(more?: Partial<ExperienceContext>): ExperienceContext & { learner: StubLearner };
}

/**
 * What the checks of an algorithm run on.
 * @example
 * await algorithmChecks['gives the same again'](algorithmSubject(() => mine()));
 */
export function algorithmSubject(algorithm: PartOrFactory<Algorithm>, options: AlgorithmOptions = {}): AlgorithmSubject {
  const { groups = sampleGroups, rewardWeights = {}, maxCompletionLength = 8, tolerance = 1e-5, patience = 5000 } = options;
  return {
    create: factoryOf(algorithm), groups, rewardWeights, maxCompletionLength, tolerance, patience,
    context: (more = {}) => ({ step: 1, rewardWeights, maxCompletionLength, temperature: 1, ...more, learner: stubLearner() }),
  };
}
