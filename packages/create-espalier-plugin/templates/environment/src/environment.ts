import { defineEnvironment, EspalierError, throwIfAborted, type Environment, type Message } from '@espalier/spec';

export interface __PascalName__Options {
  /** Numbers go from 1 to this. A row's own `max` goes before it. Default 100. */
  max?: number;
  /** Guesses after which the episode is lost. Default 8. */
  maxGuesses?: number;
}

/** What a row may say. */
export interface __PascalName__Row extends Record<string, unknown> {
  max?: number;
}

const says = (content: string): readonly Message[] => [{ role: 'user', content }];

/** A number from 1 to `max` that the seed determines. */
function secretOf(seed: number, max: number): number {
  const hash = Math.imul(Math.imul(seed + 1, 0x9e3779b1) ^ (seed >>> 3), 0x85ebca6b) >>> 0;
  return 1 + Math.floor((hash / 2 ** 32) * max);
}

/**
 * Guess the number: the policy is told whether the number is higher or lower. A right guess earns 1, less an equal part for every guess before it; no right
 * guess in `maxGuesses` earns 0.
 *
 * @throws EspalierError `bad_config`; `bad_data` for a row whose `max` is none
 * @example
 * const environment = __camelName__Environment({ max: 10 });
 * const [{ content }] = await environment.reset({}, 1);
 * const { observation, reward, done } = await environment.step({ role: 'assistant', content: '5' });
 */
export function __camelName__Environment(options: __PascalName__Options = {}): Environment<__PascalName__Row> {
  const highest = wholeNumber('max', options.max ?? 100, 'bad_config');
  const maxGuesses = wholeNumber('maxGuesses', options.maxGuesses ?? 8, 'bad_config');
  let secret: number | null = null; // null: no episode is under way
  let guesses = 0;
  return defineEnvironment<__PascalName__Row>({
    name: '__name__',

    async reset(row, seed, { signal } = {}) {
      throwIfAborted(signal);
      const max = wholeNumber('max', row.max ?? highest, 'bad_data');
      secret = secretOf(seed, max);
      guesses = 0;
      return says(`I think of a number from 1 to ${max}. You have ${maxGuesses} guesses. Reply with a number alone.`);
    },

    async step({ content }, { signal } = {}) {
      throwIfAborted(signal);
      if (secret === null) throw new EspalierError('closed', '__name__: no episode is under way', { fix: 'reset it' });
      const guess = Number(/-?\d+/.exec(content)?.[0] ?? NaN);
      if (guess === secret) {
        secret = null;
        return { reward: 1 - guesses / maxGuesses, done: true };
      }
      guesses++;
      if (guesses === maxGuesses) {
        secret = null;
        return { reward: 0, done: true };
      }
      return { observation: says(Number.isNaN(guess) ? 'Reply with a number.' : guess < secret ? 'Higher.' : 'Lower.'), done: false };
    },
  });
}

function wholeNumber(name: string, given: unknown, code: 'bad_config' | 'bad_data'): number {
  const number = Number(given); // options may come as text
  if (!Number.isInteger(number) || number < 1) throw new EspalierError(code, `__name__: \`${name}\` is ${JSON.stringify(given)}`, { fix: 'a whole number from 1' });
  return number;
}
