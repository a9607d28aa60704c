import { EspalierError } from '@espalier/spec';
import { z } from 'zod';
import { defineTool, type Tool } from '../tools/define-tool';

const parameters = z.object({ expression: z.string().min(1).max(200).describe('such as (2 + 3) * 4: numbers, + - * / and brackets') });

/**
 * A tool that does arithmetic. It reads the expression itself: nothing that the model writes is run.
 * @example
 * toolEnvironment({ tools: [calculator()] });
 */
export function calculator(): Tool<typeof parameters> {
  return defineTool({ name: 'calculator', description: 'Computes an arithmetic expression.', parameters, execute: ({ expression }) => String(evaluateExpression(expression)) });
}

/**
 * The value of an arithmetic expression: numbers, `+ - * /`, signs and brackets, with the usual precedence. Rounded to 12 significant digits, so that 0.1 + 0.2 is 0.3.
 * @throws EspalierError `bad_data` for anything else, division by zero and results that are not finite included
 * @example
 * evaluateExpression('(2 + 3) * -4'); // -20
 */
export function evaluateExpression(text: string): number {
  const tokens = text.match(/\d+(?:\.\d+)?|\.\d+|[-+*/()]|\S/g) ?? [];
  let at = 0;
  const fail = (message: string) => new EspalierError('bad_data', `${JSON.stringify(text)} cannot be computed: ${message}`, { fix: 'numbers, + - * / and brackets' });

  const sum = (depth: number): number => {
    let value = product(depth);
    while (tokens[at] === '+' || tokens[at] === '-') value = tokens[at++] === '+' ? value + product(depth) : value - product(depth);
    return value;
  };
  const product = (depth: number): number => {
    let value = factor(depth);
    while (tokens[at] === '*' || tokens[at] === '/') {
      if (tokens[at++] === '*') value *= factor(depth);
      else {
        const divisor = factor(depth);
        if (divisor === 0) throw fail('it divides by zero');
        value /= divisor;
      }
    }
    return value;
  };
  const factor = (depth: number): number => {
    if (depth > 100) throw fail('it is nested too deeply');
    const token = tokens[at++];
    if (token === '-') return -factor(depth + 1);
    if (token === '+') return factor(depth + 1);
    if (token === '(') {
      const value = sum(depth + 1);
      if (tokens[at++] !== ')') throw fail('a bracket is not closed');
      return value;
    }
    if (token === undefined) throw fail('it ends too soon');
    const value = Number(token);
    if (Number.isNaN(value)) throw fail(`"${token}" has no place there`);
    return value;
  };

  const value = sum(0);
  if (at < tokens.length) throw fail(`"${tokens[at]}" has no place there`);
  if (!Number.isFinite(value)) throw fail('the result is too large');
  return Number(value.toPrecision(12)) + 0; // no -0
}
