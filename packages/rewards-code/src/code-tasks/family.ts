import { oneOf, wholeNumber } from '../random';

/** Makes one argument. */
export type Make = (random: () => number) => unknown;

/** A kind of function that is easy to say, with all that a task is made of. */
export interface CodeFamily {
  /** Unique: `sum`, `last-item`. */
  family: string;
  /** Names that such a function goes by. The last is kept for held-out tasks. */
  names: readonly [string, string, ...string[]];
  /** Names and types, in order. */
  params: readonly (readonly [name: string, type: string])[];
  returns: string;
  /** What it does, as a sentence. */
  says: string;
  /** A right body, in TypeScript. */
  body: string;
  /** What is right, said another way: the body is tested against it. */
  solve(...args: never[]): unknown;
  /** How each argument is made. */
  args: readonly Make[];
  /** Types that the signature needs. */
  declarations?: string;
}

/** A family with a number in it (`add 3`), which differs from task to task. */
export type Family = CodeFamily | { from: number; to: number; make(constant: number): CodeFamily };

export const whole = (low: number, high: number): Make => (random) => wholeNumber(random, low, high);
export const int = whole(-20, 20);
export const natural = whole(0, 20);
export const positive = whole(1, 20);
export const flag: Make = (random) => random() < 0.5;
export const list = (part: Make, least = 0, most = 6): Make => (random) => Array.from({ length: wholeNumber(random, least, most) }, () => part(random));
export const ints = list(int);
export const someInts = list(int, 1);

const nouns = ['apple', 'river', 'stone', 'cloud', 'tiger', 'lemon', 'piano', 'garden', 'window', 'level', 'noon', 'radar', 'ice', 'sun', 'tree', 'book', 'Anna', 'Milk', 'Zoo', 'ab', 'a', ''];
export const word: Make = (random) => oneOf(random, nouns);
export const someWord: Make = (random) => oneOf(random, nouns.filter((one) => one !== ''));
export const sentence: Make = (random) => Array.from({ length: wholeNumber(random, 1, 4) }, () => someWord(random)).join(' ');
export const words = list(someWord);
export const someWords = list(someWord, 1);
export const letter: Make = (random) => oneOf(random, [...'aeilnort']);
