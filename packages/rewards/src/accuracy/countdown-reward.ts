import { defineReward, type RewardFunction } from '@espalier/spec';
import { afterReasoning, boxed } from './final-answer';
import { evaluate } from './math-evaluate';
import { parseMath, type Expr } from './math-parser';
import { equal, isRational, parseDecimal } from './rational';

export interface CountdownOptions {
  /** Column of the row with the numbers that are to be used, each once. Default `numbers`. */
  numbersColumn?: string;
  /** Column with what they are to make. Default `target`. */
  targetColumn?: string;
  name?: string;
}

/** The numbers that an expression is made of; null where it holds more than whole numbers, + − × ÷ and brackets. */
function numbersOf(expr: Expr): string[] | null {
  if (expr.kind === 'number') return expr.value.d === 1n && !expr.decimal ? [String(expr.value.n)] : null;
  if (expr.kind !== '+' && expr.kind !== '-' && expr.kind !== '*' && expr.kind !== '/') return null;
  const [left, right] = [numbersOf(expr.left), numbersOf(expr.right)];
  return left && right && [...left, ...right];
}

/** The last expression of a completion: in `<answer>` tags, in a box, or its last line; what stands behind an equals sign is left off. */
function givenExpression(completion: string): string {
  const text = (afterReasoning(completion) ?? completion).trim();
  const marked = [...text.matchAll(/<answer>([\s\S]*?)<\/answer>/gi)].at(-1)?.[1] ?? boxed(text) ?? text.split('\n').at(-1)!;
  const bare = marked.replace(/[$`]|\*\*/g, '').trim().replace(/\.$/, '');
  const [left] = bare.split('=');
  return left.slice(left.lastIndexOf(':') + 1).trim();
}

/**
 * 1 when the completion gives an expression that uses each of the row's numbers once and makes its target, else 0; null when the row has no such numbers. Any right
 * expression counts; it is evaluated in exact fractions.
 *
 * @example
 * const [score] = await countdownReward().score([sample], { step: 0 }); // '(7 - 3) * 6' with row { numbers: [3, 6, 7], target: 24 }: 1
 */
export function countdownReward(options: CountdownOptions = {}): RewardFunction {
  const { numbersColumn = 'numbers', targetColumn = 'target' } = options;
  const isWhole = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
  return defineReward({
    name: options.name ?? 'countdown',
    score: async (samples) =>
      samples.map(({ completion, row }) => {
        const [numbers, target] = [row[numbersColumn], row[targetColumn]];
        if (!Array.isArray(numbers) || numbers.length === 0 || !numbers.every(isWhole) || !Number.isSafeInteger(target)) return null;
        const text = givenExpression(completion);
        const expr = text.length > 500 ? null : parseMath(text.replaceAll('×', '*').replaceAll('÷', '/'));
        const used = expr && numbersOf(expr);
        if (!expr || !used || [...used].sort().join() !== numbers.map(String).sort().join()) return 0;
        const value = evaluate(expr, new Map());
        return Number(isRational(value) && equal(value, parseDecimal(String(target))!));
      }),
  });
}
