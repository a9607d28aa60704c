import type { OutputName } from '@espalier/spec';

/** Every output that a learner may give. */
export const outputNames: readonly OutputName[] = ['logps', 'entropy', 'values', 'scores', 'sumSquares', 'teacherDivergence'];
