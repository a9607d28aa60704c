import { defineReward, type RewardFunction } from '@espalier/spec';
import { normalizeText, type AnswerOptions } from '../answer-rewards';
import { afterReasoning, boxed } from './final-answer';

export interface ChoiceOptions extends AnswerOptions {
  /** Column of the row that lists the options: a list of texts, `{ label, text }` as columns of equal length, or text by letter. Default `choices`. */
  choicesColumn?: string;
}

interface Choices {
  labels: string[];
  texts: (string | null)[];
}

const letters = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZ'];
const isTexts = (value: unknown): value is (string | number)[] => Array.isArray(value) && value.length > 0 && value.length <= letters.length && value.every((item) => typeof item === 'string' || typeof item === 'number');

/** The options of a row; without a column of them any letter from A to Z may be meant. Null for a column that cannot be read. */
function readChoices(value: unknown): Choices | null {
  if (value === undefined || value === null) return { labels: letters, texts: letters.map(() => null) };
  if (isTexts(value)) return { labels: letters.slice(0, value.length), texts: value.map(String) };
  if (typeof value !== 'object' || Array.isArray(value)) return null;
  const { label, labels = label, text, texts = text } = value as Record<string, unknown>;
  if (isTexts(labels) && isTexts(texts)) return labels.length === texts.length ? { labels: labels.map((one) => String(one).toUpperCase()), texts: texts.map(String) } : null;
  const entries = Object.entries(value);
  return entries.length > 0 && entries.length <= letters.length && isTexts(entries.map(([, one]) => one as unknown)) ? { labels: entries.map(([key]) => key.toUpperCase()), texts: entries.map(([, one]) => String(one)) } : null;
}

const same = (a: string, b: string): boolean => normalizeText(a) === normalizeText(b) && normalizeText(a) !== '' ? true : a.trim() === b.trim();

/** The option that a row's answer names, by its number from 0, its letter or its text; −1 for none, or several. */
function referenceIndex(answer: unknown, { labels, texts }: Choices): number {
  if (typeof answer === 'number') return Number.isInteger(answer) && answer >= 0 && answer < texts.length && texts[answer] !== null ? answer : -1;
  if (typeof answer !== 'string' || answer.trim() === '') return -1;
  const byText = texts.flatMap((text, i) => (text !== null && text.trim() === answer.trim() ? [i] : []));
  if (byText.length === 1) return byText[0];
  const label = /^[[(]?([A-Za-z]|\d{1,2})[)\].:]?$/.exec(answer.trim())?.[1].toUpperCase();
  const byLabel = label === undefined ? -1 : labels.indexOf(label);
  if (byLabel >= 0) return byLabel;
  const loose = texts.flatMap((text, i) => (text !== null && same(text, answer) ? [i] : []));
  return loose.length === 1 ? loose[0] : -1;
}

/** What a completion chooses: the last choice that it announces, else the one that it consists of. −1 for none, or for several that are not told apart. */
function chosen(completion: string, choices: Choices): number {
  const text = afterReasoning(completion) ?? completion;
  const announced = boxed(text) ?? [...text.matchAll(/<answer>([\s\S]*?)<\/answer>/gi)].at(-1)?.[1] ?? [...text.matchAll(/\b(?:answer|choice|option)(?:\s+is|\s*[:=])\s*:?\s*([^\n]{1,2000})/gi)].at(-1)?.[1];
  return oneOf(announced ?? text, choices);
}

function oneOf(text: string, { labels, texts }: Choices): number {
  const plain = text.replace(/\\(?:text|textbf|mathrm)\s*\{([^{}]*)\}/g, '$1').replace(/\*\*|[$"`]/g, '').trim();
  const whole = texts.flatMap((option, i) => (option !== null && same(option, plain) ? [i] : []));
  if (whole.length === 1) return whole[0];
  const led = /^[[(]?([A-Za-z]|\d{1,2})(?:[)\].:,]+(?:\s|$)|\s*$)([\s\S]*)/.exec(plain); // "B", "(B)", "B.", "B) its text"
  const at = led ? labels.indexOf(led[1].toUpperCase()) : -1;
  if (led && at >= 0) {
    const rest = led[2].trim();
    const others = mentioned(rest, labels).filter((label) => label !== labels[at]);
    const named = texts.flatMap((option, i) => (option !== null && same(option, rest) ? [i] : []));
    if (named.length > 0 && !named.includes(at)) return -1; // the letter of one, the text of another
    return others.length > 0 ? -1 : at;
  }
  const found = new Set(mentioned(plain, labels));
  if (found.size === 1) return labels.indexOf([...found][0]);
  return -1;
}

/** Letters of options that stand in a text as such: in brackets, or alone and capital, but not the words "A" and "I". */
function mentioned(text: string, labels: readonly string[]): string[] {
  const marked = [...text.matchAll(/[[(]([A-Za-z]|\d{1,2})[)\]]/g)].map(([, label]) => label.toUpperCase());
  const alone = [...text.matchAll(/(?<![\w'’-])([A-Z])(?![\w'’-])/g)].filter(([, label], i, all) => label !== 'I' && (label !== 'A' || !/^\s+(?!(?:or|and|nor|is|because)\b)[a-z]/.test(text.slice(all[i].index + 1)))).map(([, label]) => label);
  return [...new Set([...marked, ...alone])].filter((label) => labels.includes(label));
}

/**
 * 1 when the completion chooses the right option, by its letter or by its text, else 0; null when the row's answer is none of its options. A letter with the text of
 * another option, or several letters of which none is announced as the answer, earns 0.
 *
 * The answer is a letter, the text of an option, or its number from 0.
 *
 * @example
 * const [score] = await choiceReward().score([sample], { step: 0 }); // '(B) Paris' with row { choices: ['Rome', 'Paris'], answer: 'B' }: 1
 */
export function choiceReward(options: ChoiceOptions = {}): RewardFunction {
  const { column = 'answer', choicesColumn = 'choices' } = options;
  return defineReward({
    name: options.name ?? 'choice',
    score: async (samples) =>
      samples.map(({ completion, row }) => {
        const choices = readChoices(row[choicesColumn]);
        const right = choices ? referenceIndex(row[column], choices) : -1;
        return right < 0 ? null : Number(chosen(completion, choices!) === right);
      }),
  });
}
