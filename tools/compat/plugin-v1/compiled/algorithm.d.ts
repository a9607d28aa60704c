import { type Algorithm } from '@espalier/spec';
/** The reward less the mean of its group, with log-probs of the policy that sampled taken from the learner. */
export declare function centredAlgorithm(_options?: Record<string, unknown>): Algorithm;
