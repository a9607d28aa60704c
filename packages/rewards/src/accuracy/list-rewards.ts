import { defineReward, type RewardFunction } from '@espalier/spec';
import { normalizeText, type AnswerOptions } from '../answer-rewards';
import { answerNumber } from '../numbers';
import { afterReasoning, boxed } from './final-answer';

export interface ListOptions extends AnswerOptions {
  /** Give what is partly right a part: the share of the places that are right, or of a set what both have of what either has. Default false: all or nothing. */
  partial?: boolean;
}

/** Items beyond which a list is not read: no answer is that long, and each is compared. */
const maxItems = 1000;

/** Equal items have equal keys: numbers by their value, all else by its words, whatever its case. */
function keyOf(item: string): string {
  const bare = item.trim().replace(/^["'“”‘’`*]+|["'“”‘’`*]+$/g, '').trim();
  return answerNumber(bare) ?? (normalizeText(bare) || bare);
}

/** The row's list: a list of texts and numbers, or text with its items separated. Null where it is missing or something else. An empty list is one. */
function readReferenceList(value: unknown): string[] | null {
  if (typeof value === 'number') return Number.isFinite(value) ? [keyOf(String(value))] : null;
  if (typeof value === 'string') return value.trim() === '' ? null : readList(value);
  if (!Array.isArray(value) || value.length > maxItems) return null;
  return value.every((item) => (typeof item === 'string' && item.trim() !== '') || (typeof item === 'number' && Number.isFinite(item))) ? value.map((item) => keyOf(String(item))) : null;
}

/** Items of a text: separated by commas, semicolons, lines or "and"; numbered, bulleted, quoted or in brackets. */
function readList(text: string): string[] {
  const inner = text.trim().replace(/[.]$/, '').trim().replace(/^\\?[[({]+([\s\S]*?)\\?[\])}]+$/, '$1').trim();
  if (inner === '' || /^(?:none|empty|nothing|∅|\\emptyset|\\varnothing|the empty (?:set|list))$/i.test(inner)) return [];
  const separator = /[;\n]/.test(inner) ? /\s*[;\n]\s*(?:and\s+)?|,\s+/ : /\s*,\s*(?:and\s+)?|\s+and\s+/;
  const items = inner.split(separator).map((item) => item.replace(/^\s*(?:[-*•]|\d+[.)])\s+/, '').trim().replace(/,$/, '')).filter((item) => item !== '');
  return (items.length === 1 && /\s/.test(items[0]) && !/[,;\n]/.test(inner) ? [items[0]] : items).map(keyOf);
}

/** The list that a completion gives: in a box, in `<answer>` tags, behind the last colon of its lead-in ("The words in order are: …"), or the whole of it. */
function givenList(completion: string): string[] | null {
  const text = (afterReasoning(completion) ?? completion).trim();
  const marked = boxed(text) ?? [...text.matchAll(/<answer>([\s\S]*?)<\/answer>/gi)].at(-1)?.[1];
  const led = marked ?? /^[^\n]*?(?:\b(?:is|are|answer|list|set|order|result|words|numbers)\b[^\n:,]{0,80}):\s*([\s\S]+)$/i.exec(text)?.[1] ?? text;
  const items = readList(led);
  return items.length > maxItems ? null : items;
}

const score = (right: readonly string[], given: readonly string[] | null, ordered: boolean, partial: boolean): number => {
  if (given === null) return 0;
  if (ordered) {
    const hits = right.filter((item, i) => item === given[i]).length;
    const longest = Math.max(right.length, given.length);
    return longest === 0 ? 1 : hits === longest ? 1 : partial ? hits / longest : 0;
  }
  const [a, b] = [new Set(right), new Set(given)];
  const both = [...a].filter((item) => b.has(item)).length;
  const either = a.size + b.size - both;
  return either === 0 || both === either ? 1 : partial ? both / either : 0;
};

const make = (name: string, ordered: boolean, options: ListOptions): RewardFunction => {
  const { column = 'answer', partial = false } = options;
  return defineReward({
    name: options.name ?? name,
    score: async (samples) =>
      samples.map(({ completion, row }) => {
        const right = readReferenceList(row[column]);
        return right === null ? null : score(right, givenList(completion), ordered, partial);
      }),
  });
};

/**
 * 1 when the completion gives the items of the row's list in their order, else 0 (with `partial`: the share of the places that are right); null when the row has no list.
 * Items are compared as numbers where they are some, else by their words.
 *
 * @example
 * const [score] = await listReward().score([sample], { step: 0 }); // 'In order: apple, pear' with row { answer: ['apple', 'pear'] }: 1
 */
export const listReward = (options: ListOptions = {}): RewardFunction => make('list', true, options);

/** As {@link listReward}, in any order and with repetitions counted once; `partial` gives the share that both have of what either has (Jaccard). */
export const setReward = (options: ListOptions = {}): RewardFunction => make('set', false, options);
