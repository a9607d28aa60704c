import { add, divide, equal, fraction, multiply, readDecimal, roundsTo, subtract, type Fraction } from './fraction';

/** An equation that a text states: `3 * 4 + 2 = 14`. */
export interface ArithmeticStep {
  text: string;
  right: boolean;
}

type Token = { kind: 'number'; value: Fraction; decimals: number; text: string } | { kind: 'operator' | 'open' | 'close' | 'equals' | 'percent' | 'other'; text: string };

/** Digits of a number, or tokens of an expression, beyond which nobody reckons in a thought: it is left unread. */
const longest = 60;

const pattern = /(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)|([+\-−–*×·⋅/÷]|(?<=[\d)\s])x(?=[\d(\s]))|(\()|(\))|(=)|(%)|([ \t]+|[$€£])|([\s\S])/gu;

function tokensOf(text: string): Token[] {
  const tokens: Token[] = [];
  for (const [whole, number, operator, open, close, equals, percent, space] of text.matchAll(pattern)) {
    if (space !== undefined) continue;
    if (number !== undefined) {
      if (number.length > longest) tokens.push({ kind: 'other', text: number });
      else tokens.push({ kind: 'number', value: readDecimal(number), decimals: (number.split('.')[1] ?? '').length, text: number });
    } else tokens.push({ kind: operator ? 'operator' : open ? 'open' : close ? 'close' : equals ? 'equals' : percent ? 'percent' : 'other', text: whole });
  }
  return tokens;
}

const normal: Readonly<Record<string, string>> = { '−': '-', '–': '-', '×': '*', '·': '*', '⋅': '*', x: '*', '÷': '/' };

/** The value of a whole expression; null where it is none, or divides by 0. */
function evaluate(tokens: readonly Token[]): Fraction | null {
  let at = 0;
  const operator = (...among: string[]): string | null => {
    const token = tokens[at];
    const name = token?.kind === 'operator' ? (normal[token.text] ?? token.text) : null;
    if (name === null || !among.includes(name)) return null;
    at++;
    return name;
  };
  function sum(): Fraction | null {
    let value = product();
    for (let name = operator('+', '-'); value !== null && name !== null; name = operator('+', '-')) {
      const next = product();
      value = next && (name === '+' ? add(value, next) : subtract(value, next));
    }
    return value;
  }
  function product(): Fraction | null {
    let value = factor();
    for (let name = operator('*', '/'); value !== null && name !== null; name = operator('*', '/')) {
      const next = factor();
      value = next && (name === '*' ? multiply(value, next) : divide(value, next));
    }
    return value;
  }
  function factor(): Fraction | null {
    if (operator('-') !== null) {
      const value = factor();
      return value && fraction(-value.top, value.bottom);
    }
    const token = tokens[at++];
    let value: Fraction | null = null;
    if (token?.kind === 'number') ({ value } = token);
    else if (token?.kind === 'open') {
      value = sum();
      if (tokens[at++]?.kind !== 'close') return null;
    }
    if (value && tokens[at]?.kind === 'percent') {
      at++;
      value = divide(value, fraction(100n));
    }
    return value;
  }
  const value = sum();
  return at === tokens.length ? value : null;
}

const inExpression = (token: Token | undefined) => token !== undefined && token.kind !== 'other' && token.kind !== 'equals';
const hasOperator = (tokens: readonly Token[]) => tokens.some(({ kind }, i) => kind === 'operator' && i > 0);

/** The longest part of a side that is an expression, from the equals sign outwards; null where there is none. */
function side(tokens: readonly Token[], from: 'end' | 'start'): { tokens: readonly Token[]; value: Fraction } | null {
  for (let length = tokens.length; length > 0; length--) {
    const part = from === 'end' ? tokens.slice(tokens.length - length) : tokens.slice(0, length);
    const value = evaluate(part);
    if (value) return { tokens: part, value };
  }
  return null;
}

/**
 * Every equation of numbers in a text, and whether it holds: `a op b = c`, chains of them (`3 * 4 + 2 = 12 + 2 = 14` are two), brackets, percentages; exact, with
 * any number of digits. A result with decimals may be rounded to them (`10 / 3 = 3.33`). Where nothing is reckoned (`x = 5`, `5 = 5`) there is no step.
 *
 * @example
 * arithmeticSteps('First 12 + 7 = 19, then 19 × 2 = 39.'); // [{ text: '12+7=19', right: true }, { text: '19×2=39', right: false }]
 */
export function arithmeticSteps(text: string): ArithmeticStep[] {
  const tokens = tokensOf(text);
  const steps: ArithmeticStep[] = [];
  tokens.forEach(({ kind }, at) => {
    if (kind !== 'equals') return;
    let [begin, end] = [at, at + 1];
    while (begin > 0 && at - begin < longest && inExpression(tokens[begin - 1])) begin--;
    while (end - at <= longest && inExpression(tokens[end])) end++;
    const [left, right] = [side(tokens.slice(begin, at), 'end'), side(tokens.slice(at + 1, end), 'start')];
    const before = left && tokens[at - left.tokens.length - 1];
    if (left && left.tokens[0].kind === 'operator' && before?.kind === 'other' && /[\p{L}\p{N}\]}]/u.test(before.text)) return; // `y - 3 * 2 = 5`
    if (!left || !right || !(hasOperator(left.tokens) || hasOperator(right.tokens))) return;
    const last = right.tokens.length === 1 ? right.tokens[0] : null;
    const holds = equal(left.value, right.value) || (last?.kind === 'number' && last.decimals > 0 && roundsTo(left.value, right.value, last.decimals));
    steps.push({ text: [...left.tokens, tokens[at], ...right.tokens].map((token) => token.text).join(''), right: holds });
  });
  return steps;
}
