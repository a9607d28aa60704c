import { defineReward, EspalierError, type RewardFunction, type RewardSample } from '@espalier/spec';
import { splitThought } from '../reasoning/thought';
import { wordsOf } from './text-units';

interface Language {
  /** Scripts of its letters, as Unicode names them. */
  scripts: readonly string[];
  /** Its most frequent words, where others share its script. */
  stopWords?: ReadonlySet<string>;
}

const list = (words: string) => new Set(words.split(' '));

const languages: Readonly<Record<string, Language>> = {
  en: { scripts: ['Latin'], stopWords: list('the of and to in is that it was for on are as with his they at be this have from or had by but what all were we when your can said there an which their if will each about how them then she many some so these would other into has more her two like him see could no than been its who now my made over did down only way find use may long very after most through where much before too any same our me you he i do not') },
  de: { scripts: ['Latin'], stopWords: list('der die das und ist in den von zu mit sich des auf für nicht ein eine als auch es an werden aus er hat dass sie nach wird bei einer um am sind noch wie einem über einen so zum war haben nur oder aber vor zur bis mehr durch man sein wurde sei hatte kann ich wir ihr wenn dann mein dein doch schon') },
  fr: { scripts: ['Latin'], stopWords: list("le la les de des du et est en un une que qui dans pour pas sur au aux avec ce il elle ne se plus par son sa ses ou mais nous vous ils leur cette ces être avoir fait tout comme si sont je tu mon ton donc c'est n'est d'un d'une qu'il") },
  es: { scripts: ['Latin'], stopWords: list('el la los las de del y que en un una es por con para no se su lo al como más pero sus le ya o este sí porque esta entre cuando muy sin sobre también me hasta hay donde quien desde todo nos durante ella son fue ser era yo tú está están') },
  it: { scripts: ['Latin'], stopWords: list("il lo la i gli le di che e è un una per in con non si del della dei delle al alla da sono come ma più anche nel nella ha questo questa o se ci io tu lui lei noi loro era essere fare poi perché dove quando molto c'è un'") },
  pt: { scripts: ['Latin'], stopWords: list('o a os as de do da dos das e que em um uma é para com não se por mais no na nos nas como mas ao ele ela à seu sua ou quando muito já eu também só pelo pela até isso entre era depois sem mesmo aos são foi está você') },
  nl: { scripts: ['Latin'], stopWords: list('de het een en van in is dat op te zijn met voor niet aan er om ook als dan maar bij of uit naar hij ze wij je ik dit die wat over worden wordt heeft hebben kan nog door tot zo geen meer was werd') },
  ru: { scripts: ['Cyrillic'], stopWords: list('и в не на я быть он с что а по это она этот к но они мы весь который из у то за свой от со для о же ты все так его как бы вы если уже или ни было') },
  uk: { scripts: ['Cyrillic'], stopWords: list('і в не на я бути він з що а по це вона цей до але вони ми весь який із у то за свій від для про же ти всі так його як би ви якщо вже або ні було та й') },
  zh: { scripts: ['Han'] },
  ja: { scripts: ['Hiragana', 'Katakana', 'Han'] },
  ko: { scripts: ['Hangul'] },
  ar: { scripts: ['Arabic'] },
  he: { scripts: ['Hebrew'] },
  el: { scripts: ['Greek'] },
  hi: { scripts: ['Devanagari'] },
  th: { scripts: ['Thai'] },
};

/** Codes of the languages that are told apart. */
export const languageCodes: readonly string[] = Object.keys(languages);

const scripts = [...new Set(Object.values(languages).flatMap((language) => language.scripts))];
const patterns = new Map(scripts.map((script) => [script, new RegExp(`\\p{Script=${script}}`, 'gu')]));
const kana = /[\p{Script=Hiragana}\p{Script=Katakana}]/u;

/** Code, formulas and addresses are no language. */
const prose = (text: string) => text.replace(/```[\s\S]*?(```|$)|`[^`\n]*`|\$[^$\n]*\$|https?:\/\/\S+/gu, ' ');

/**
 * How surely a text is in each language, from 0 to 1: the share of its letters in the language's scripts, times, where several share a script, the language's part in
 * the frequent words that were found. Null for a text without letters. Kana tell Japanese from Chinese.
 */
export function languageScores(text: string): Record<string, number> | null {
  const plain = prose(text);
  const letters = (plain.match(/\p{L}/gu) ?? []).length;
  if (letters === 0) return null;
  const inScript = new Map(scripts.map((script) => [script, (plain.match(patterns.get(script)!) ?? []).length / letters]));
  const words = wordsOf(plain);
  const found = Object.fromEntries(Object.entries(languages).flatMap(([code, { stopWords }]) => (stopWords ? [[code, words.filter((word) => stopWords.has(word)).length]] : [])));
  const most = (script: string) => Math.max(...Object.entries(languages).filter(([code, language]) => code in found && language.scripts.includes(script)).map(([code]) => found[code]));
  return Object.fromEntries(
    Object.entries(languages).map(([code, language]) => {
      let share = Math.min(1, language.scripts.reduce((sum, script) => sum + inScript.get(script)!, 0));
      if (code === 'zh' && kana.test(plain)) share *= 0.5;
      if (code === 'ja' && !kana.test(plain)) share *= 0.5;
      if (!language.stopWords) return [code, share];
      const best = most(language.scripts[0]);
      return [code, best === 0 ? share / 2 : share * (found[code] / best)]; // without a frequent word any of the script's languages may be it
    }),
  );
}

export interface LanguageOptions {
  /** The language wanted, such as `en`; or `prompt`: that of the prompt. Default `prompt`. */
  language?: string;
  /** Column of the row that names the language, in place of `language`. */
  column?: string;
  name?: string;
}

/**
 * How surely a completion is in the language wanted, from 0 to 1, the thought included (models slip into another one there). By scripts and frequent words; code,
 * formulas and addresses do not count. Null where nothing is wanted (a prompt of no clear language), or a completion has no letters (a number is of every language).
 *
 * @throws EspalierError `bad_config` for a language that is not known
 *
 * @example
 * languageReward({ language: 'de' });
 */
export function languageReward(options: LanguageOptions = {}): RewardFunction {
  const { language = 'prompt', column } = options;
  if (language !== 'prompt' && !Object.hasOwn(languages, language)) throw new EspalierError('bad_config', `\`language\` is ${JSON.stringify(language)}`, { fix: `prompt, or one of ${languageCodes.join(', ')}` });
  const wanted = ({ prompt, row }: RewardSample): string | null => {
    if (column !== undefined) return typeof row[column] === 'string' && Object.hasOwn(languages, row[column]) ? row[column] : null;
    if (language !== 'prompt') return language;
    const text = typeof prompt === 'string' ? prompt : ([...prompt].reverse().find(({ role }) => role === 'user')?.content ?? '');
    const [best, second] = Object.entries(languageScores(text) ?? {}).sort(([, a], [, b]) => b - a);
    return best && best[1] > 0.5 && best[1] > 1.2 * (second?.[1] ?? 0) ? best[0] : null;
  };
  return defineReward({
    name: options.name ?? 'language',
    score: async (samples) =>
      samples.map((sample) => {
        const code = wanted(sample);
        const { thought, answer } = splitThought(sample.completion);
        return code === null ? null : (languageScores(`${thought ?? ''}\n${answer}`)?.[code] ?? null);
      }),
  });
}
