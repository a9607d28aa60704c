import { evaluate, variablesOf } from './math-evaluate';
import { parseMath, type Expr } from './math-parser';
import { add, isRational, type Rational } from './rational';
import { quantity, unitOf, type Quantity } from './units';

/** What an answer says, read from its text. */
export type MathValue =
  | { kind: 'expr'; expr: Expr; quantity: Quantity | null }
  | { kind: 'set' | 'tuple'; items: MathValue[] }
  | { kind: 'interval'; open: string; close: string; items: [MathValue, MathValue] }
  | { kind: 'relation'; sign: Relation; left: Expr; right: Expr }
  /** x = 5: a name with its value. */
  | { kind: 'assignment'; name: string; value: MathValue };
export type Relation = '=' | '<' | '<=' | '!=';

/** Marks of LaTeX and of text that say nothing about the value. */
function tidy(text: string): string {
  let now = text
    .replace(/\\\\(?=[a-zA-Z])/g, '\\') // doubled backslashes
    .replace(/\\[dtc]frac/g, '\\frac')
    .replace(/\\(?:displaystyle|textstyle|limits|nolimits)(?![a-zA-Z])/g, ' ')
    .replace(/\\left\s*\\?\.|\\right\s*\\?\./g, '')
    .replace(/\\(?:left|right|bigl?|bigr|Bigl?|Bigr)(?![a-zA-Z])\s*/g, '')
    .replace(/\\[,;:! ]|\\q?quad(?![a-zA-Z])|~/g, (mark) => (mark === '\\!' ? '' : ' '))
    .replace(/(?:\\text|\\textbf|\\textit|\\textrm|\\mathrm|\\mathbf|\\mathit|\\mbox|\\operatorname)\s*\{([^{}]*)\}/g, ' $1 ')
    .replace(/\\(?:leq?|leqslant)(?![a-zA-Z])|≤/g, '<=')
    .replace(/\\(?:geq?|geqslant)(?![a-zA-Z])|≥/g, '>=')
    .replace(/\\(?:neq?)(?![a-zA-Z])|≠/g, '!=')
    .replace(/\\lt(?![a-zA-Z])/g, '<').replace(/\\gt(?![a-zA-Z])/g, '>')
    .replace(/\\(?:approx|simeq|equiv)(?![a-zA-Z])|≈|~=/g, '=')
    .replace(/\\?\$|[€£¥₹]/g, ' ')
    .replace(/(?<=[a-zA-Z])\s+\^\s*/g, '^')
    .replace(/\\%/g, '%')
    .replace(/\s*\b(?:percent(?:age)?|pct)\b/gi, '%')
    .replace(/\{,\}/g, ',')
    .replace(/(?<![\d,.])\d{1,3}(?:,\d{3})+(?![\d,])/g, (number) => number.replaceAll(',', ''))
    .replace(/^(-?\d{1,3})((?: \d{3})+)(?=$|\.\d|[^\d.]*$)/, (_, first: string, rest: string) => first + rest.replaceAll(' ', ''))
    .replace(/\*\*(?=\S[^*]*\*\*)|(?<=\S)\*\*(?=[\s.,]|$)/g, '') // bold
    .replace(/[`"“”]/g, '')
    .trim();
  for (let last = '', layers = 0; last !== now && layers < 8; layers++) {
    last = now;
    now = now.replace(/[.,;:]$/, '').trim();
    const inner = /^\\\(([\s\S]*)\\\)$|^\\\[([\s\S]*)\\\]$/.exec(now);
    if (inner) now = (inner[1] ?? inner[2]).trim();
    if (now.startsWith('{') && closingOf(now, 0) === now.length - 1) now = now.slice(1, -1).trim();
  }
  return now;
}

const closers: Readonly<Record<string, string>> = { '(': ')', '[': ']', '{': '}' };

/** Where the bracket at `start` closes, half-open intervals too; −1 where it does not. */
function closingOf(text: string, start: number): number {
  let depth = 0;
  for (let i = start; i < text.length; i++) {
    if (text[i] in closers) depth++;
    else if (')]}'.includes(text[i]) && --depth === 0) return i;
  }
  return -1;
}

/** Cuts at separators that stand in no bracket. */
function cut(text: string, pattern: RegExp): string[] {
  const parts: string[] = [];
  let depth = 0;
  let from = 0;
  for (let i = 0; i < text.length; i++) {
    if (text[i] in closers) depth++;
    else if (')]}'.includes(text[i])) depth--;
    if (depth > 0) continue;
    pattern.lastIndex = i;
    const found = pattern.exec(text);
    if (!found) continue;
    parts.push(text.slice(from, i));
    i += found[0].length - 1;
    from = i + 1;
  }
  parts.push(text.slice(from));
  return parts.map((part) => part.trim());
}

const separator = /\s*[,;]\s*(?:(?:and|or)\b\s*)?|\s+(?:and|or)\s+/y;
const relation = /<=|>=|!=|(?<![<>!=])=|<|>/y;

/**
 * Reads an answer: a number, a formula, an amount with its unit, a tuple, a set, an interval, an equation or an inequality. Null for what is none of these.
 *
 * @example
 * parseAnswer('2.5\\text{ km}');
 */
export function parseAnswer(text: string): MathValue | null {
  return text.length > 4000 ? null : read(tidy(text), 0);
}

function read(text: string, depth: number): MathValue | null {
  if (text === '' || depth > 6) return null;
  const member = /^[a-zA-Z]\s*\\in(?![a-zA-Z])\s*(.*)$/s.exec(text);
  if (member) return read(member[1], depth + 1);
  const sides = cut(text, relation);
  const all = (items: (MathValue | null)[]): MathValue[] | null => (items.every((item) => item !== null) ? (items as MathValue[]) : null);
  if (sides.length > 1 && cut(text, separator).length === 1) return readRelation(text, sides, depth);
  const list = cut(text, separator);
  if (list.length > 1) {
    if (list.length > 64) return null;
    const amount = readAmounts(list);
    if (amount) return amount;
    const items = all(list.filter((part, i) => part !== '' || i < list.length - 1).map((part) => read(part, depth + 1)));
    return items && { kind: 'set', items };
  }
  const braces = /^\\\{([\s\S]*)\\\}$/.exec(text);
  if (braces) {
    const items = braces[1].trim() === '' ? [] : all(cut(braces[1], separator).map((part) => read(part, depth + 1)));
    return items && { kind: 'set', items };
  }
  if ((text[0] === '(' || text[0] === '[') && closingOf(text, 0) === text.length - 1) {
    const parts = cut(text.slice(1, -1), separator);
    if (parts.length > 1) {
      const items = all(parts.map((part) => read(part, depth + 1)));
      if (!items) return null;
      if (items.length === 2 && (text[0] === '[' || text.endsWith(']'))) return { kind: 'interval', open: text[0], close: text[text.length - 1], items: items as [MathValue, MathValue] };
      return { kind: 'tuple', items };
    }
  }
  return readExpr(text);
}

function readRelation(text: string, sides: string[], depth: number): MathValue | null {
  const signs = cutSigns(text);
  const last = sides.length - 1;
  if (signs.every((sign) => sign === '=')) {
    const name = sides[0].replace(/\s/g, '');
    if (sides.length === 2 && !/^[a-zA-Z](_\{?\w+\}?|')?(\([a-z]\))?$|^\\[a-z]+$/.test(name)) {
      const [left, right] = [parseMath(sides[0]), parseMath(sides[1])];
      if (left && right && (variablesOf(left).size > 0 || variablesOf(right).size > 0)) return { kind: 'relation', sign: '=', left, right };
      return read(sides[1], depth + 1); // 3 + 4 = 7, Area = 12
    }
    const value = read(sides[last], depth + 1);
    return value && { kind: 'assignment', name, value };
  }
  if (sides.length !== 2) return null;
  const [left, right] = [parseMath(sides[0]), parseMath(sides[1])];
  if (!left || !right) return null;
  const [sign] = signs;
  return sign.startsWith('>') ? { kind: 'relation', sign: sign.replace('>', '<') as Relation, left: right, right: left } : { kind: 'relation', sign: sign as Relation, left, right };
}

function cutSigns(text: string): string[] {
  return text.match(/<=|>=|!=|(?<![<>!=])=|<|>/g) ?? [];
}

const amountPattern = /^(.*[\d})%π])\s*([a-zA-Zµ°]+\.?(?:\s+[a-zA-Z]+)?(?:\/[a-zA-Z]+)?\s*(?:\^\s*\{?[23]\}?|[²³])?)$/s;
const anyWord = /^(.*[\d})])\s*(?:[a-zA-Z]+\.?)(?:\s+[a-zA-Z]+\.?)*\s*(?:\^\s*\{?[23]\}?|[²³])?$/s;

function readExpr(text: string): MathValue | null {
  const several = readAmounts(text.split(/(?<=[a-z])\s+(?=\d)/i));
  if (several) return several;
  const [, number, name] = amountPattern.exec(text) ?? [];
  const unit = name === undefined ? null : unitOf(name);
  if (unit) {
    const expr = parseMath(number);
    const amount = expr && evaluate(expr, new Map());
    const whole = parseMath(text);
    if (expr && amount !== null && isRational(amount)) return { kind: 'expr', expr: whole && variablesOf(expr).size > 0 ? whole : expr, quantity: quantity(amount, unit) };
    if (expr && variablesOf(expr).size === 0) return { kind: 'expr', expr, quantity: null };
  }
  const expr = parseMath(text);
  if (expr) return { kind: 'expr', expr, quantity: null };
  const words = anyWord.exec(text); // 12 apples, 3 square units
  const counted = words && parseMath(words[1]);
  return counted && { kind: 'expr', expr: counted, quantity: null };
}

/** `2 h 30 min`, `1 m and 20 cm`: amounts of one kind, added up. */
function readAmounts(parts: readonly string[]): MathValue | null {
  if (parts.length < 2 || parts.length > 6) return null;
  let total: Quantity | null = null;
  for (const part of parts) {
    const [, number, name] = amountPattern.exec(part) ?? [];
    const unit = name === undefined ? null : unitOf(name);
    const expr = unit && parseMath(number);
    const amount = expr && evaluate(expr, new Map());
    const made = unit && amount !== null && isRational(amount) ? quantity(amount, unit) : null;
    if (!made || (total && total.kind !== made.kind)) return null;
    const sum: Rational | null = total ? add(total.amount, made.amount) : made.amount;
    if (!sum) return null;
    total = { kind: made.kind, amount: sum };
  }
  return total && { kind: 'expr', expr: { kind: 'number', value: total.amount, decimal: false }, quantity: total };
}
