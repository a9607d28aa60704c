import { defineReward, EspalierError, type RewardFunction } from '@espalier/spec';
import { readabilityIndex } from './readability-index.js';

/** Every option may come as text, from a command line. */
export interface ReadabilityOptions {
  /** The grade up to which a text earns 1. Default 8: what newspapers aim at. */
  grade?: number;
  /** Grades above that over which the reward falls to 0. Default 4. */
  tolerance?: number;
  /** Of texts with fewer words nothing is said: the index is made for prose. Default 8. */
  minWords?: number;
  /** The language of the texts. Default `en`. */
  locale?: string;
}

/**
 * Rewards plain language: 1 up to `grade` of the automated readability index, falling to 0 at `grade` + `tolerance`. The index, words a sentence and characters a
 * word are its components, so that a run's log and report show what changed. `null` for texts that are too short to be measured.
 *
 * Plain is not right: a policy that is rewarded for this alone learns to say little in short words. Give it a small weight beside a reward for the answer.
 *
 * @throws EspalierError `bad_config`
 * @example
 * const reward = readability({ grade: 6 });
 */
export function readability(options: ReadabilityOptions = {}): RewardFunction {
  const grade = number('grade', options.grade ?? 8, (value) => Number.isFinite(value), 'a number');
  const tolerance = number('tolerance', options.tolerance ?? 4, (value) => value > 0 && value < Infinity, 'a number above 0');
  const minWords = number('minWords', options.minWords ?? 8, (value) => Number.isInteger(value) && value >= 1, 'a whole number from 1');
  const locale = knownLocale(options.locale ?? 'en');
  return defineReward({
    name: 'readability',
    score: async (samples) =>
      samples.map(({ completion }) => {
        const index = readabilityIndex(completion, locale);
        if (index.words < minWords) return null;
        return {
          total: Math.min(1, Math.max(0, (grade + tolerance - index.grade) / tolerance)),
          components: { grade: index.grade, words_per_sentence: index.words / index.sentences, characters_per_word: index.characters / index.words },
        };
      }),
  });
}

function number(name: keyof ReadabilityOptions, given: unknown, fits: (value: number) => boolean, wanted: string): number {
  const value = given === '' ? NaN : Number(given);
  if (!fits(value)) throw new EspalierError('bad_config', `readability: \`${name}\` is ${JSON.stringify(given)}`, { fix: wanted });
  return value;
}

function knownLocale(locale: string): string {
  try {
    if (Intl.Segmenter.supportedLocalesOf([locale]).length > 0) return locale;
  } catch {
    // no locale at all: said below
  }
  throw new EspalierError('bad_config', `readability: \`locale\` is ${JSON.stringify(locale)}, which this Node does not know`, { fix: 'a language such as en, de or pt-BR' });
}
