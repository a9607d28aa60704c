import { defineReward, EspalierError, type Reward, type RewardFunction } from '@espalier/spec';

export interface WordsOptions {
  /** Words or phrases that must not occur: a list, or text with `|` between them. */
  forbid?: string | readonly string[];
  /** Words or phrases that must occur. */
  require?: string | readonly string[];
  /** Column of the row with further ones that must occur. */
  column?: string;
  name?: string;
}

const listOf = (given: unknown): string[] => (typeof given === 'string' ? given.split('|') : Array.isArray(given) ? given.filter((word): word is string => typeof word === 'string') : []).map((word) => word.trim()).filter((word) => word !== '');

/** Whole words, without regard to case: `art` is not in `party`. Letters of scripts without spaces are found anywhere. */
export function contains(text: string, phrase: string): boolean {
  const escaped = phrase.normalize('NFKC').replace(/[.*+?^${}()|[\]\\]/g, '\\$&').replace(/\s+/g, '\\s+');
  const spaced = !/[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]/u.test(phrase);
  const edge = (at: RegExp, look: string) => (spaced && at.test(phrase) ? look : '');
  return new RegExp(`${edge(/^[\p{L}\p{N}]/u, '(?<![\\p{L}\\p{N}])')}${escaped}${edge(/[\p{L}\p{N}]$/u, '(?![\\p{L}\\p{N}])')}`, 'iu').test(text.normalize('NFKC'));
}

/**
 * Word lists: 0 as soon as a forbidden word occurs; else the share of the required ones that occur (1 where none is required). How often a word occurs makes no
 * difference. Null where nothing is listed.
 *
 * @throws EspalierError `bad_config` when no list is given at all
 *
 * @example
 * wordsReward({ forbid: ['as an AI language model'], column: 'must_mention' });
 */
export function wordsReward(options: WordsOptions): RewardFunction {
  const [forbidden, required] = [listOf(options.forbid), listOf(options.require)];
  const { column } = options;
  if (forbidden.length === 0 && required.length === 0 && column === undefined) throw new EspalierError('bad_config', 'there are no words', { fix: '`forbid`, `require`, or a `column` with words' });
  return defineReward({
    name: options.name ?? 'words',
    score: async (samples) =>
      samples.map(({ completion, row }): Reward | null => {
        const wanted = [...required, ...(column === undefined ? [] : listOf(row[column]))];
        if (wanted.length === 0 && forbidden.length === 0) return null;
        const bad = forbidden.find((word) => contains(completion, word));
        if (bad !== undefined) return { total: 0, note: `it says ${JSON.stringify(bad)}` };
        return wanted.length === 0 ? 1 : wanted.filter((word) => contains(completion, word)).length / wanted.length;
      }),
  });
}
