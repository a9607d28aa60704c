import { spelled, tokenize, type Token } from './math-tokens';
import { parseDecimal, rational, type Rational } from './rational';

/** A formula. Variables are single letters or Greek names. */
export type Expr =
  | { kind: 'number'; value: Rational; decimal: boolean }
  | { kind: 'name'; name: string }
  | { kind: 'negate' | 'percent' | 'factorial'; of: Expr }
  | { kind: '+' | '-' | '*' | '/' | '^'; left: Expr; right: Expr }
  | { kind: 'call'; name: string; of: Expr; index?: Expr };

const functions = new Set(['sqrt', 'root', 'sin', 'cos', 'tan', 'cot', 'sec', 'csc', 'arcsin', 'arccos', 'arctan', 'sinh', 'cosh', 'tanh', 'ln', 'log', 'exp', 'abs', 'floor', 'ceil', 'binom']);
const constants = new Set(['pi', 'e', 'infty']);
const greek = new Set(['alpha', 'beta', 'gamma', 'delta', 'epsilon', 'theta', 'lambda', 'mu', 'nu', 'rho', 'sigma', 'tau', 'phi', 'varphi', 'chi', 'psi', 'omega', 'kappa', 'xi', 'zeta', 'eta']);
/** Letters side by side that are a product: `xy`, `abc`. Words are not. */
const isProduct = (text: string): boolean => text.length === 1 || (text.length === 2 && !shortWords.has(text.toLowerCase())) || /^(?:[abc]{3}|[xyz]{3}|[abc]{1,2}[xyz]{1,2})$/i.test(text);
const shortWords = new Set('am an as at be by do go he hi if in is it me my no of oh ok on or so to up us we'.split(' '));

class Unreadable extends Error {}

/** Reads tokens from left to right; what it cannot read it throws out of. */
class Reader {
  private at = 0;
  private depth = 0;
  private bars = 0;
  constructor(private readonly tokens: Token[]) {}

  whole(): Expr {
    const made = this.sum();
    if (this.at < this.tokens.length) throw new Unreadable();
    return made;
  }

  private peek(text?: string): Token | undefined {
    const token = this.tokens[this.at];
    return token && (text === undefined || (token.kind === 'sign' && token.text === text)) ? token : undefined;
  }
  private take(text?: string): Token {
    const token = this.peek(text);
    if (!token) throw new Unreadable();
    this.at++;
    return token;
  }

  private sum(): Expr {
    if (++this.depth > 100) throw new Unreadable();
    let left = this.product();
    while (this.peek('+') || this.peek('-')) {
      const kind = this.take().text as '+' | '-';
      left = { kind, left, right: this.product() };
    }
    this.depth--;
    return left;
  }

  private product(): Expr {
    let left = this.signed();
    for (;;) {
      if (this.peek('*') || this.peek('/')) {
        const kind = this.take().text as '*' | '/';
        left = { kind, left, right: this.signed() };
      } else if (this.beginsFactor()) {
        const mixed = this.mixedPart(left);
        left = mixed ? { kind: '+', left, right: mixed } : { kind: '*', left, right: this.raised() };
      } else return left;
    }
  }

  /** `1 1/2` and `1\frac{1}{2}`: the fraction behind a whole number is added to it. */
  private mixedPart(left: Expr): Expr | null {
    if (left.kind !== 'number' || left.value.d !== 1n || left.decimal) return null;
    const [a, slash, b] = this.tokens.slice(this.at, this.at + 3);
    const isWhole = (token: Token | undefined) => token?.kind === 'number' && /^\d+$/.test(token.text);
    if (isWhole(a) && a.space && slash?.text === '/' && isWhole(b)) {
      this.at += 3;
      const value = rational(BigInt(a.text), BigInt(b.text));
      if (!value) throw new Unreadable();
      return { kind: 'number', value, decimal: false };
    }
    if (isWhole(a)) throw new Unreadable(); // two numbers side by side are no product
    if (a.kind !== 'command' || !a.text.endsWith('frac')) return null;
    const back = this.at;
    const fraction = this.raised();
    if (fraction.kind === '/' && fraction.left.kind === 'number' && fraction.right.kind === 'number') return fraction;
    this.at = back;
    return null;
  }

  private beginsFactor(): boolean {
    const token = this.peek();
    if (!token) return false;
    if (token.kind === 'command') return token.text !== 'rfloor' && token.text !== 'rceil';
    return token.kind !== 'sign' || token.text === '(' || token.text === '{' || token.text === '[' || (token.text === '|' && this.bars === 0);
  }

  private signed(): Expr {
    if (this.peek('-')) {
      this.take();
      return { kind: 'negate', of: this.signed() };
    }
    if (this.peek('+')) this.take();
    return this.raised();
  }

  private raised(): Expr {
    if (++this.depth > 100) throw new Unreadable();
    let base = this.atom();
    for (;;) {
      if (this.peek('!')) {
        this.take();
        base = { kind: 'factorial', of: base };
      } else if (this.peek('%')) {
        this.take();
        base = { kind: 'percent', of: base };
      } else break;
    }
    if (this.peek('^')) {
      this.take();
      const circle = this.tokens[this.at]?.text === 'circ' || (this.tokens[this.at]?.text === '{' && this.tokens[this.at + 1]?.text === 'circ');
      if (circle) this.at += this.tokens[this.at].text === 'circ' ? 1 : 3; // degrees are left off
      else base = { kind: '^', left: base, right: this.peek('{') ? this.group() : this.signed() };
    }
    this.depth--;
    return base;
  }

  /** `{…}`, or one digit or letter, as LaTeX takes its arguments. */
  private group(): Expr {
    if (this.peek('{')) {
      this.take();
      const inside = this.sum();
      this.take('}');
      return inside;
    }
    const token = this.tokens[this.at];
    if (token?.kind === 'number' && token.text.length > 1) {
      this.tokens.splice(this.at, 1, { ...token, text: token.text[0] }, { ...token, text: token.text.slice(1), space: false });
    } else if (token?.kind === 'name' && token.text.length > 1) {
      this.tokens.splice(this.at, 1, { ...token, text: token.text[0] }, { ...token, text: token.text.slice(1), space: false });
    }
    return this.atom();
  }

  private atom(): Expr {
    const token = this.take();
    if (token.kind === 'number') {
      const value = parseDecimal(token.text);
      if (!value) throw new Unreadable();
      return { kind: 'number', value, decimal: /[.eE]/.test(token.text) };
    }
    if (token.kind === 'sign') {
      const close = { '(': ')', '{': '}', '[': ']', '|': '|' }[token.text];
      if (close === undefined) throw new Unreadable();
      if (token.text === '|') this.bars++;
      const inside = this.sum();
      this.take(close);
      if (token.text !== '|') return inside;
      this.bars--;
      return { kind: 'call', name: 'abs', of: inside };
    }
    return token.kind === 'command' ? this.command(token.text) : this.word(token);
  }

  private command(name: string): Expr {
    if (/^[dtc]?frac$/.test(name)) {
      const left = this.group();
      return { kind: '/', left, right: this.group() };
    }
    if (/^[dt]?binom$/.test(name)) {
      const of = this.group();
      return { kind: 'call', name: 'binom', of, index: this.group() };
    }
    if (name === 'sqrt' && this.peek('[')) {
      this.take();
      const index = this.sum();
      this.take(']');
      return { kind: 'call', name: 'root', of: this.group(), index };
    }
    if (name === 'lfloor' || name === 'lceil') {
      const of = this.sum();
      if (this.take().text !== name.replace('l', 'r')) throw new Unreadable();
      return { kind: 'call', name: name === 'lfloor' ? 'floor' : 'ceil', of };
    }
    if (constants.has(name) || greek.has(name)) return { kind: 'name', name };
    if (functions.has(name)) return this.call(name);
    throw new Unreadable();
  }

  private call(name: string): Expr {
    let index: Expr | undefined;
    if (name === 'log' && this.peek('_')) {
      this.take();
      index = this.group();
    }
    let exponent: Expr | undefined; // \sin^2 x
    if (this.peek('^')) {
      this.take();
      exponent = this.group();
    }
    const argument = this.peek('{') || this.peek('(') || name === 'sqrt' ? this.group() : this.argument();
    const made: Expr = { kind: 'call', name, of: argument, ...(index ? { index } : {}) };
    return exponent ? { kind: '^', left: made, right: exponent } : made;
  }

  /** `\sin 2x`: what follows up to the next sign. */
  private argument(): Expr {
    let made = this.raised();
    while (this.peek()?.kind === 'name' || this.peek()?.kind === 'number') made = { kind: '*', left: made, right: this.raised() };
    return made;
  }

  private word(token: Token): Expr {
    const { text } = token;
    const known = spelled[text.toLowerCase()] ?? text.toLowerCase();
    if (functions.has(known) && text.length > 1) return this.call(known);
    if (constants.has(known) && text.length > 1) return { kind: 'name', name: known };
    if (!isProduct(text)) throw new Unreadable();
    let made: Expr | null = null;
    for (let i = 0; i < text.length; i++) {
      let letter: Expr = { kind: 'name', name: text[i] };
      if (i === text.length - 1) {
        if (this.peek('_')) {
          this.take();
          const index = this.peek('{') ? this.subscript() : this.take().text;
          letter = { kind: 'name', name: `${text[i]}_${index}` };
        }
        if (this.peek('^') && made) {
          this.take();
          letter = { kind: '^', left: letter, right: this.peek('{') ? this.group() : this.signed() };
        }
      }
      made = made ? { kind: '*', left: made, right: letter } : letter;
    }
    return made!;
  }

  private subscript(): string {
    this.take('{');
    let text = '';
    while (!this.peek('}')) text += this.take().text;
    this.take();
    return text;
  }
}

/**
 * Reads a formula in plain text or LaTeX: fractions, roots, powers, percentages, mixed numbers, functions, variables of one letter. Null for what is none.
 *
 * @example
 * parseMath('\\frac{1}{2} + \\sqrt{9}');
 */
export function parseMath(text: string): Expr | null {
  if (text.length > 2000) return null;
  const tokens = tokenize(text);
  if (!tokens || tokens.length === 0) return null;
  try {
    return new Reader(tokens).whole();
  } catch (error) {
    if (error instanceof Unreadable) return null;
    throw error;
  }
}
