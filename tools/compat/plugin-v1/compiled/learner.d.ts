import { type Learner } from '@espalier/spec';
/** A learner whose model is a table: the log-prob of a token is −softplus of its entry. Plain gradient descent. */
export declare function tableLearner(vocabulary?: number): Learner;
