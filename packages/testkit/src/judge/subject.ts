import type { Comparison, Judge } from '@espalier/spec';
import { factoryOf, type PartOrFactory } from '../check';

export interface JudgeOptions {
  /** What is compared. Default: four questions with a better and a worse answer. */
  comparisons?: readonly Comparison[];
  /** How far p(first) + p(second, swapped) may be from 1. Default 0.1; null: not looked at, for a judge with a bias that is known. */
  swapTolerance?: number | null;
  /** Largest difference between two answers that should be the same. Default 1e-9. */
  tolerance?: number;
  /** Milliseconds in which a call must settle once its signal has fired. Default 5000. */
  patience?: number;
}

export interface JudgeSubject extends Required<JudgeOptions> {
  create(): Promise<Judge>;
}

/**
 * Questions with an answer that most would hold the better one.
 * @example
 * describeJudge(mine, { comparisons: [...defaultComparisons(), { prompt: 'Q', first: 'a', second: 'b' }] });
 */
export function defaultComparisons(): Comparison[] {
  return [
    { prompt: 'What is 2 + 3?', first: 'It is 5.', second: 'It is 6.', seed: 1 },
    { prompt: [{ role: 'user', content: 'Say hello.' }], first: '', second: 'Hello!', seed: 2 },
    { prompt: 'Name a colour.', first: 'Blue.', second: 'Blue.', seed: 3 },
    { prompt: 'Translate "good" to Turkish.', first: 'iyi', second: 'kötü '.repeat(50), question: 'Which translation is right?', seed: 4 },
  ];
}

/**
 * What the checks of a judge run on.
 * @example
 * await judgeChecks['gives a probability, or null'](judgeSubject(mine));
 */
export function judgeSubject(judge: PartOrFactory<Judge>, options: JudgeOptions = {}): JudgeSubject {
  const { comparisons = defaultComparisons(), swapTolerance = 0.1, tolerance = 1e-9, patience = 5000 } = options;
  return { create: factoryOf(judge), comparisons, swapTolerance, tolerance, patience };
}
