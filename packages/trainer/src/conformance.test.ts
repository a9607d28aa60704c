import { describeObjective } from '@espalier/testkit';
import { lmObjective } from './lm-loss';

describeObjective(lmObjective(0.3));
