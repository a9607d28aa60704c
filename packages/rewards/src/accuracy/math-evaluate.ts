import type { Expr } from './math-parser';
import { add, divide, equal, isRational, multiply, power, rational, root, subtract, toNumber, type Rational } from './rational';

/** An exact value where there is one, else a float (NaN where there is none). */
export type Value = Rational | number;

const approximate = (value: Value): number => (isRational(value) ? toNumber(value) : value);
const exactly = (value: Value, other: Value, exact: (a: Rational, b: Rational) => Rational | null, float: (a: number, b: number) => number): Value =>
  (isRational(value) && isRational(other) ? exact(value, other) : null) ?? finite(float(approximate(value), approximate(other)), value, other);
/** What grows beyond all floats has no value, unless infinity was written. */
const finite = (made: number, ...from: readonly Value[]): number => (Number.isFinite(made) || from.some((value) => Math.abs(approximate(value)) === Infinity) ? made : NaN);

/** The value of a formula where its variables have these values. */
export function evaluate(expr: Expr, variables: ReadonlyMap<string, Rational>): Value {
  const of = (inner: Expr) => evaluate(inner, variables);
  switch (expr.kind) {
    case 'number': return expr.value;
    case 'name': {
      const given = variables.get(expr.name);
      if (given) return given;
      return expr.name === 'pi' ? Math.PI : expr.name === 'e' ? Math.E : expr.name === 'infty' ? Infinity : NaN;
    }
    case 'negate': return exactly({ n: 0n, d: 1n }, of(expr.of), subtract, (a, b) => a - b);
    case 'percent': return exactly(of(expr.of), { n: 100n, d: 1n }, divide, (a, b) => a / b);
    case 'factorial': return factorial(of(expr.of));
    case '+': return exactly(of(expr.left), of(expr.right), add, (a, b) => a + b);
    case '-': return exactly(of(expr.left), of(expr.right), subtract, (a, b) => a - b);
    case '*': return exactly(of(expr.left), of(expr.right), multiply, (a, b) => a * b);
    case '/': return exactly(of(expr.left), of(expr.right), divide, (a, b) => (b === 0 ? NaN : a / b));
    case '^': return raise(of(expr.left), of(expr.right));
    case 'call': return call(expr.name, of(expr.of), expr.index ? of(expr.index) : null);
  }
}

function raise(base: Value, exponent: Value): Value {
  if (isRational(base) && isRational(exponent)) {
    if (exponent.d === 1n) {
      const exact = power(base, exponent.n);
      if (exact) return exact;
    } else if (exponent.d <= 100n) {
      const under = power(base, exponent.n);
      const exact = under && root(under, Number(exponent.d));
      if (exact) return exact;
      if (base.n < 0n && exponent.d % 2n === 1n) return (exponent.n % 2n === 0n ? 1 : -1) * Math.abs(toNumber(base)) ** toNumber(exponent); // the real root
    }
  }
  return finite(approximate(base) ** approximate(exponent), base, exponent);
}

function factorial(value: Value): Value {
  if (!isRational(value) || value.d !== 1n || value.n < 0n || value.n > 400n) return NaN;
  let product = 1n;
  for (let i = 2n; i <= value.n; i++) product *= i;
  return rational(product) ?? NaN;
}

const floats: Readonly<Record<string, (x: number) => number>> = {
  sin: Math.sin, cos: Math.cos, tan: Math.tan, cot: (x) => 1 / Math.tan(x), sec: (x) => 1 / Math.cos(x), csc: (x) => 1 / Math.sin(x), arcsin: Math.asin, arccos: Math.acos, arctan: Math.atan,
  sinh: Math.sinh, cosh: Math.cosh, tanh: Math.tanh, ln: Math.log, exp: Math.exp,
};

function call(name: string, x: Value, index: Value | null): Value {
  const number = approximate(x);
  switch (name) {
    case 'abs': return isRational(x) ? { n: x.n < 0n ? -x.n : x.n, d: x.d } : Math.abs(x);
    case 'sqrt': return (isRational(x) ? root(x, 2) : null) ?? Math.sqrt(number);
    case 'root': return raise(x, index === null ? NaN : exactly({ n: 1n, d: 1n }, index, divide, (a, b) => a / b));
    case 'floor': return Number.isSafeInteger(Math.floor(number)) ? rational(BigInt(Math.floor(number)))! : NaN;
    case 'ceil': return Number.isSafeInteger(Math.ceil(number)) ? rational(BigInt(Math.ceil(number)))! : NaN;
    case 'binom': {
      if (index === null || !isRational(x) || !isRational(index) || x.d !== 1n || index.d !== 1n || index.n < 0n || index.n > x.n || x.n > 400n) return NaN;
      let made = 1n;
      for (let i = 1n; i <= index.n; i++) made = (made * (x.n - index.n + i)) / i;
      return rational(made) ?? NaN;
    }
    case 'log': { // sympy's log is the natural one, and so is TRL's
      if (index === null) return Math.log(number);
      const made = Math.log(number) / Math.log(approximate(index));
      const whole = Math.round(made);
      return isRational(x) && isRational(index) && Math.abs(made - whole) < 1e-9 && equal(power(index, BigInt(whole)) ?? { n: 0n, d: 1n }, x) ? rational(BigInt(whole))! : made;
    }
    default: return floats[name]?.(number) ?? NaN;
  }
}

/** Names of the variables of a formula. */
export function variablesOf(expr: Expr, found = new Set<string>()): Set<string> {
  if (expr.kind === 'name' && !['pi', 'e', 'infty'].includes(expr.name)) found.add(expr.name);
  if ('of' in expr) variablesOf(expr.of, found);
  if ('left' in expr) {
    variablesOf(expr.left, found);
    variablesOf(expr.right, found);
  }
  if (expr.kind === 'call' && expr.index) variablesOf(expr.index, found);
  return found;
}

/** Whether a formula holds a number that is written with a decimal point. */
export function hasDecimals(expr: Expr): boolean {
  if (expr.kind === 'number') return expr.decimal;
  return ('of' in expr && hasDecimals(expr.of)) || ('left' in expr && (hasDecimals(expr.left) || hasDecimals(expr.right)));
}

/** Where formulas with variables are compared: fractions on both sides of 0 and of 1, none of which has a simple relation to another. */
const points = [[3, 7], [17, 5], [-11, 13], [29, 19], [-41, 17], [2, 31], [53, 3], [97, 101]].map(([n, d]) => ({ n: BigInt(n), d: BigInt(d) }));

/** Values for the variables, at each point others. */
export function assignments(names: ReadonlySet<string>): ReadonlyMap<string, Rational>[] {
  if (names.size === 0) return [new Map()];
  const list = [...names].sort();
  return points.map((_, p) => new Map(list.map((name, v) => [name, add(points[(p + 3 * v) % points.length], { n: BigInt(v), d: 1n })!])));
}

export { approximate };
