import { arithmetic } from './arithmetic-family';
import type { TaskFamily } from './family';
import { analogies, booleanLogic, brackets, setOperations, shortestPath } from './logic-families';
import { chain, compare, equations, numberBases, sequences } from './numbers-families';
import { countLetters, editList, editWord, reverseWord, sortWords } from './word-families';
import { calendar, countdown, unitConversion, wordProblems } from './world-families';

/** The families of this package. */
export const taskFamilies = [
  arithmetic, chain, compare, equations, sequences, numberBases, wordProblems, unitConversion, calendar, countdown,
  countLetters, sortWords, reverseWord, editWord, editList,
  booleanLogic, brackets, shortestPath, setOperations, analogies,
] as const satisfies readonly TaskFamily[];

/** The family of a name, among those given and those of this package; undefined where there is none. Those given go before. */
export function taskFamily(name: string, more: readonly TaskFamily[] = []): TaskFamily | undefined {
  return more.find((family) => family.name === name) ?? taskFamilies.find((family) => family.name === name);
}
