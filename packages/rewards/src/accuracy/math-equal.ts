import { approximate, assignments, evaluate, hasDecimals, variablesOf, type Value } from './math-evaluate';
import type { Expr } from './math-parser';
import type { MathValue } from './math-values';
import { equal, isRational, subtract, toNumber } from './rational';

/** Where one of two numbers is written with a decimal point, they are equal when they agree to this many decimals (as in math-verify, and so in TRL). */
const decimals = 6;

function sameNumber(a: Value, b: Value, rounded: boolean): boolean {
  if (isRational(a) && isRational(b)) {
    if (equal(a, b)) return true;
    if (!rounded) return false;
    const difference = subtract(a, b);
    return difference !== null && Math.abs(toNumber(difference)) <= 0.5 * 10 ** -decimals;
  }
  const [x, y] = [approximate(a), approximate(b)];
  if (x === y) return true;
  if (!Number.isFinite(x) || !Number.isFinite(y)) return false;
  return Math.abs(x - y) <= (rounded ? 0.5 * 10 ** -decimals : 1e-10 * Math.max(1, Math.abs(x), Math.abs(y)));
}

/** A percentage without its sign, and whether it had one. */
const withoutPercent = (expr: Expr): [Expr, boolean] => (expr.kind === 'percent' ? [expr.of, true] : expr.kind === 'negate' && expr.of.kind === 'percent' ? [{ kind: 'negate', of: expr.of.of }, true] : [expr, false]);

/** Whether two formulas have the same value, at each of several points where they have variables. */
function sameExpr(a: Expr, b: Expr): boolean {
  const [x, inPercent] = withoutPercent(a);
  const [y, otherInPercent] = withoutPercent(b);
  if (inPercent !== otherInPercent && sameValue(x, y)) return true; // 9% and 9: the sign is often left out
  return sameValue(a, b);
}

function sameValue(a: Expr, b: Expr): boolean {
  const names = new Set([...variablesOf(a), ...variablesOf(b)]);
  const rounded = names.size === 0 && (hasDecimals(a) || hasDecimals(b));
  let compared = 0;
  for (const values of assignments(names)) {
    const [x, y] = [evaluate(a, values), evaluate(b, values)];
    const [nanX, nanY] = [Number.isNaN(approximate(x)), Number.isNaN(approximate(y))];
    if (nanX && nanY) continue; // outside of both
    if (nanX !== nanY || !sameNumber(x, y, rounded)) return false;
    compared++;
  }
  return compared >= (names.size === 0 ? 1 : 3);
}

/** Whether left − right of one relation is a constant multiple of that of the other; the sign of the constant, else null. */
function sameRelation(a: { left: Expr; right: Expr }, b: { left: Expr; right: Expr }): 1 | -1 | null {
  const [x, y]: Expr[] = [{ kind: '-', left: a.left, right: a.right }, { kind: '-', left: b.left, right: b.right }];
  let factor: number | null = null;
  let compared = 0;
  for (const values of assignments(new Set([...variablesOf(x), ...variablesOf(y)]))) {
    const [p, q] = [approximate(evaluate(x, values)), approximate(evaluate(y, values))];
    if (Number.isNaN(p) && Number.isNaN(q)) continue;
    if (!Number.isFinite(p) || !Number.isFinite(q)) return null;
    if (Math.abs(p) < 1e-12 || Math.abs(q) < 1e-12) {
      if (Math.abs(p) > 1e-12 || Math.abs(q) > 1e-12) return null;
      continue;
    }
    factor ??= p / q;
    if (Math.abs(p / q - factor) > 1e-9 * Math.abs(factor)) return null;
    compared++;
  }
  return factor === null || compared < 3 ? null : factor > 0 ? 1 : -1;
}

function sameItems(a: readonly MathValue[], b: readonly MathValue[], ordered: boolean): boolean {
  if (a.length !== b.length) return false;
  if (ordered) return a.every((item, i) => sameAnswer(item, b[i]));
  const left = [...b];
  return a.every((item) => {
    const at = left.findIndex((other) => sameAnswer(item, other));
    if (at >= 0) left.splice(at, 1);
    return at >= 0;
  });
}

const unwrap = (value: MathValue): MathValue => (value.kind === 'assignment' ? unwrap(value.value) : value);

/**
 * Whether an answer says the same as the right one. Numbers are compared exactly, or to six decimals where one is written with a decimal point; formulas at several
 * points; amounts in units of the same kind after conversion, and an amount without a unit by its number; sets in any order.
 */
export function sameAnswer(reference: MathValue, answer: MathValue): boolean {
  if (reference.kind === 'relation' || answer.kind === 'relation') {
    if (reference.kind === 'relation' && answer.kind === 'relation') {
      const sign = reference.sign === answer.sign ? sameRelation(reference, answer) : null;
      return sign === 1 || (sign === -1 && (reference.sign === '=' || reference.sign === '!='));
    }
    // y = 2x + 1 beside y − 2x = 1: the assignment is an equation too
    const [equation, other] = reference.kind === 'relation' ? [reference, answer] : [answer as MathValue & { kind: 'relation' }, reference];
    return equation.sign === '=' && other.kind === 'assignment' && other.value.kind === 'expr' && /^[a-zA-Z]$/.test(other.name) && sameRelation(equation, { left: { kind: 'name', name: other.name }, right: other.value.expr }) !== null;
  }
  if (reference.kind === 'assignment' && answer.kind === 'assignment' && reference.name.length === 1 && answer.name.length === 1 && reference.name !== answer.name) return false; // x = 5 and y = 5
  const [a, b] = [unwrap(reference), unwrap(answer)];
  if (a.kind === 'expr' && b.kind === 'expr') {
    if (a.quantity && b.quantity) return a.quantity.kind === b.quantity.kind && equal(a.quantity.amount, b.quantity.amount);
    return sameExpr(a.expr, b.expr);
  }
  if (a.kind === 'interval' && b.kind === 'interval') return a.open === b.open && a.close === b.close && sameItems(a.items, b.items, true);
  if ((a.kind === 'set' || a.kind === 'tuple') && (b.kind === 'set' || b.kind === 'tuple')) return sameItems(distinct(a), distinct(b), a.kind === 'tuple');
  if (a.kind === 'set' && a.items.length === 1) return sameAnswer(a.items[0], b);
  return b.kind === 'set' && b.items.length === 1 && sameAnswer(a, b.items[0]);
}

/** The elements of a set, each once; those of a tuple as they are. */
function distinct({ kind, items }: MathValue & { kind: 'set' | 'tuple' }): readonly MathValue[] {
  return kind === 'tuple' ? items : items.filter((item, i) => !items.slice(0, i).some((other) => sameAnswer(other, item)));
}
