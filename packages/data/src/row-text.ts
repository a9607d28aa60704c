import { EspalierError } from '@espalier/spec';
import type { Row } from './rows';

const usual = ['text', 'messages', 'prompt', 'completion', 'chosen', 'rejected', 'completions', 'question', 'answer', 'instruction', 'input', 'output', 'conversations'] as const;

/**
 * The texts of a row: a column's text, or each message's content. Default columns: those of TRL's formats and the usual names of questions and answers.
 * @throws EspalierError `bad_config` for a row that has none of the columns
 */
export function rowTexts(row: Row, columns: readonly string[] = usual, where = 'row'): string[] {
  const there = columns.filter((name) => row[name] !== undefined);
  if (there.length === 0) throw new EspalierError('bad_config', `${where} has none of the columns ${columns.join(', ')}`, { fix: `name the columns that count: it has ${Object.keys(row).join(', ') || 'none'}` });
  return there.flatMap((name) => textsOf(row[name])).filter((text) => text !== '');
}

function textsOf(value: unknown): string[] {
  if (typeof value === 'string') return [value];
  if (typeof value === 'number' || typeof value === 'boolean') return [String(value)];
  if (Array.isArray(value)) return value.flatMap(textsOf);
  if (typeof value !== 'object' || value === null) return [];
  const { content, value: said } = value as Row;
  return textsOf(content ?? said);
}

/** The words of a text: compatible forms made one (NFKC), lower case, nothing but letters, marks, numbers and symbols; of text without spaces between words (Chinese, Japanese, Thai) each character. */
export function wordsOf(text: string): string[] {
  return text.normalize('NFKC').toLowerCase().match(/[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]|(?:(?![\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}])[\p{L}\p{M}\p{N}])+|\p{S}/gu) ?? [];
}

/** Runs of `n` words; of a shorter text the one run that it is. */
export function ngrams(words: readonly string[], n: number): string[] {
  if (words.length === 0) return [];
  if (words.length < n) return [words.join(' ')];
  return Array.from({ length: words.length - n + 1 }, (_, i) => words.slice(i, i + n).join(' '));
}

/** A 32-bit hash of a text (FNV-1a over UTF-16 units, finished as MurmurHash3). */
export function hashText(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
