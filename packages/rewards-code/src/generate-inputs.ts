import type { CallTest, CodeTest } from './code-tests';
import { oneOf, randomFrom, wholeNumber } from './random';

/**
 * New arguments like those of example tests, for clustering programs by what they do: each is an example's with its parts changed a little, of the same types. What is right for
 * them is not known, and not needed.
 *
 * @param options `count`: default 50, as many as AlphaCode takes; `seed`: default 0
 * @returns lists of arguments; empty when no example is a call
 */
export function generateInputs(examples: readonly CodeTest[], options: { count?: number; seed?: number } = {}): unknown[][] {
  const { count = 50, seed = 0 } = options;
  const calls = examples.filter((test): test is CallTest => 'args' in test);
  if (calls.length === 0) return [];
  const random = randomFrom(seed);
  return Array.from({ length: count }, () => oneOf(random, calls).args.map((value) => change(value, random)));
}

/** A value of the same type. */
function change(value: unknown, random: () => number): unknown {
  if (random() < 0.2) return value;
  if (typeof value === 'number') return changeNumber(value, random);
  if (typeof value === 'boolean') return random() < 0.5;
  if (typeof value === 'string') return changeList([...value], random, (letter) => changeLetter(letter, random)).join('');
  if (Array.isArray(value)) return changeList(value, random, (part) => change(part, random));
  if (typeof value === 'object' && value !== null) return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, change(part, random)]));
  return value;
}

function changeNumber(value: number, random: () => number): number {
  const step = Number.isInteger(value) ? wholeNumber(random, -5, 5) : random() * 10 - 5;
  return oneOf(random, [value + step, value + step, -value, 0, value * 2]) + 0;
}

/** Some parts changed, and now and then one dropped, doubled, or all turned round. */
function changeList<T>(list: readonly T[], random: () => number, changePart: (part: T) => T): T[] {
  const parts = list.map((part) => (random() < 0.5 ? changePart(part) : part));
  const at = Math.floor(random() * parts.length);
  const kind = random();
  if (parts.length > 0 && kind < 0.2) parts.splice(at, 1);
  else if (parts.length > 0 && kind < 0.4) parts.splice(at, 0, changePart(parts[at]));
  else if (kind < 0.5) parts.reverse();
  return parts;
}

const alphabets = ['abcdefghijklmnopqrstuvwxyz', 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', '0123456789'];
function changeLetter(letter: string, random: () => number): string {
  const alphabet = alphabets.find((letters) => letters.includes(letter));
  return alphabet ? oneOf(random, [...alphabet]) : letter;
}
