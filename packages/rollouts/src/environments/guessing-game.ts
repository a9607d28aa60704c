import { hash32 } from '@espalier/data';
import { defineEnvironment, EspalierError, throwIfAborted, type Environment, type Message } from '@espalier/spec';

export interface GuessingGameOptions {
  /** Numbers go from 1 to this; a row's own `max` goes before it. Default 100. */
  max?: number;
  /** Guesses after which the game is lost. Default 8. */
  maxGuesses?: number;
  /** What each guess before the right one takes off. Default 0: a game that is won earns 1. */
  guessCost?: number;
  /** What the policy reads first; `{max}` and `{guesses}` stand for the numbers. */
  prompt?: string;
  /** What it reads after a guess. Default `Higher.`, `Lower.`, `Reply with a number.` */
  higher?: string;
  lower?: string;
  unclear?: string;
}

const usual = 'I think of a number from 1 to {max}. You have {guesses} guesses. Reply with a number alone.';
const says = (content: string): readonly Message[] => [{ role: 'user', content }];

/**
 * Guess a number, and be told whether it is higher or lower. A game that is won earns 1, less `guessCost` for every guess before the right one; a lost one earns 0. The
 * secret derives from the seed.
 *
 * @throws EspalierError `bad_config`; `bad_data` for a row whose `max` is none
 *
 * @example
 * const environment = guessingGame({ max: 10 });
 * const [{ content }] = await environment.reset({}, 1);
 * const { observation, reward, done } = await environment.step({ role: 'assistant', content: '5' });
 */
export function guessingGame(options: GuessingGameOptions = {}): Environment {
  const highest = wholeNumber('max', options.max ?? 100, 'bad_config');
  const maxGuesses = wholeNumber('maxGuesses', options.maxGuesses ?? 8, 'bad_config');
  const guessCost = Number(options.guessCost ?? 0);
  if (!(guessCost >= 0 && guessCost * (maxGuesses - 1) <= 1)) throw new EspalierError('bad_config', `guess: \`guessCost\` is ${String(options.guessCost)}`, { fix: `from 0 to ${1 / Math.max(1, maxGuesses - 1)}, so that a game that is won earns no less than a lost one` });
  const { prompt = usual, higher = 'Higher.', lower = 'Lower.', unclear = 'Reply with a number.' } = options;
  let secret: number | null = null; // null: no game is under way
  let guesses = 0;
  return defineEnvironment({
    name: 'guess',

    async reset(row, seed, { signal } = {}) {
      throwIfAborted(signal);
      const max = wholeNumber('max', row['max'] ?? highest, 'bad_data');
      secret = 1 + Math.floor((hash32(seed, 0x6e55) / 2 ** 32) * max);
      guesses = 0;
      return says(prompt.replaceAll('{max}', String(max)).replaceAll('{guesses}', String(maxGuesses)));
    },

    async step({ content }, { signal } = {}) {
      throwIfAborted(signal);
      if (secret === null) throw new EspalierError('closed', 'guess: no game is under way', { fix: 'reset it' });
      const guess = Number(/-?\d+/.exec(content)?.[0] ?? NaN);
      guesses++;
      const won = guess === secret;
      if (won || guesses === maxGuesses) {
        secret = null;
        return { reward: { total: won ? 1 - guessCost * (guesses - 1) : 0, components: { won: Number(won), guesses } }, done: true };
      }
      return { observation: says(Number.isNaN(guess) ? unclear : guess < secret ? higher : lower), done: false };
    },
  });
}

function wholeNumber(name: string, given: unknown, code: 'bad_config' | 'bad_data'): number {
  const number = Number(given); // options may come as text
  if (!Number.isInteger(number) || number < 1) throw new EspalierError(code, `guess: \`${name}\` is ${JSON.stringify(given)}`, { fix: 'a whole number from 1' });
  return number;
}
