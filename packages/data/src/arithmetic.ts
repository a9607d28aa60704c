import { EspalierError } from '@espalier/spec';
import { z } from 'zod';
import { datasetOf, type Dataset } from './dataset';
import { hash32, Random } from './random';
import type { Row } from './rows';

export const operations = ['+', '-', '*'] as const;
export type Operation = (typeof operations)[number];

/** What the levels of difficulty stand for. */
export const difficulties: Readonly<Record<number, { min: number; max: number; terms: number; operations: readonly Operation[] }>> = {
  1: { min: 0, max: 9, terms: 2, operations: ['+'] },
  2: { min: 2, max: 50, terms: 2, operations: ['+'] },
  3: { min: 2, max: 50, terms: 2, operations: ['+', '-'] },
  4: { min: 2, max: 99, terms: 3, operations: ['+', '-'] },
  5: { min: 2, max: 30, terms: 3, operations: ['+', '-', '*'] },
};

const whole = z.int();

/** Options of {@link arithmeticTask}. `min`, `max`, `terms` and `operations` override what the difficulty says. */
export const arithmeticOptions = z.strictObject({
  /** 1 (sums of digits) to 5 (three operands with products). */
  difficulty: z.int().min(1).max(5).default(2),
  min: whole.optional(),
  max: whole.optional(),
  /** Operands a problem. */
  terms: z.int().min(2).max(8).optional(),
  operations: z.array(z.enum(operations)).nonempty().optional(),
  seed: z.int().min(0).default(0),
  /** Rows, all different. Default: no end, problems may recur. */
  size: z.int().positive().optional(),
  /** Problems are divided by a hash that does not depend on `seed`: what is in one part is never in the other, operands swapped or not. */
  split: z.enum(['all', 'train', 'held_out']).default('all'),
  heldOutFraction: z.number().gt(0).lt(1).default(0.2),
  /** The question; `{expression}` stands for the problem. */
  template: z.string().includes('{expression}', { error: 'must contain {expression}' }).default('What is {expression}? Reply with the number only.'),
  /** `messages`: a user turn; `text`: plain text. */
  format: z.enum(['messages', 'text']).default('messages'),
  /** Add the right answer as `completion`, which makes rows for supervised training. */
  withCompletion: z.boolean().default(false),
});
export type ArithmeticOptions = z.input<typeof arithmeticOptions>;

/** A row of {@link arithmeticTask}. */
export interface ArithmeticRow extends Row {
  prompt: string | { role: string; content: string }[];
  answer: string;
  expression: string;
  completion?: string | { role: string; content: string }[];
}

/** Problems by number. */
export interface ArithmeticDataset extends Dataset {
  row(index: number): ArithmeticRow;
}

interface Problem {
  operands: readonly number[];
  signs: readonly Operation[];
}

function evaluate({ operands, signs }: Problem): number {
  // products first, then from left to right
  const terms = [operands[0]];
  signs.forEach((sign, i) => {
    const value = operands[i + 1];
    if (sign === '*') terms[terms.length - 1] *= value;
    else terms.push(sign === '-' ? -value : value);
  });
  return terms.reduce((a, b) => a + b, 0);
}

const write = ({ operands, signs }: Problem) => operands.map((n, i) => (i === 0 ? '' : ` ${signs[i - 1]} `) + (i > 0 && n < 0 ? `(${n})` : String(n))).join('');

/** Equal for problems that differ only in the order of a sum or of a product. */
function identity({ operands, signs }: Problem): number {
  const commutes = new Set(signs).size === 1 && signs[0] !== '-';
  const ordered = commutes ? [...operands].sort((a, b) => a - b) : operands;
  return hash32(...ordered.map((n) => n + 0x40000000), ...signs.map((sign) => operations.indexOf(sign)));
}

/**
 * Arithmetic problems with one right answer, made from a seed: the task that small models learn in minutes. A row has `prompt`, `answer`
 * (digits, with a minus sign if need be) and `expression`.
 *
 * @throws EspalierError `bad_config` when an option is wrong, or there are fewer different problems than `size`
 *
 * @example
 * arithmeticTask({ difficulty: 2, seed: 1 }).row(0); // { prompt: [{ role: 'user', content: 'What is … + …? …' }], answer: '…', expression: '… + …' }
 */
export function arithmeticTask(input: ArithmeticOptions = {}): ArithmeticDataset {
  const parsed = arithmeticOptions.safeParse(input);
  if (!parsed.success) {
    const { path, message } = parsed.error.issues[0];
    throw new EspalierError('bad_config', `arithmetic task: \`${path.join('.')}\`: ${message}`);
  }
  const options = parsed.data;
  const level = difficulties[options.difficulty];
  const min = options.min ?? level.min;
  const max = options.max ?? level.max;
  const terms = options.terms ?? level.terms;
  const signs = options.operations ?? level.operations;
  if (min > max) throw new EspalierError('bad_config', `arithmetic task: \`min\` ${min} is over \`max\` ${max}`, { fix: 'swap them' });
  if (Math.max(Math.abs(min), Math.abs(max)) ** terms > Number.MAX_SAFE_INTEGER) throw new EspalierError('bad_config', `arithmetic task: ${terms} operands up to ${max} give numbers that are not exact`, { fix: 'a smaller range' });

  const belongs = (problem: Problem) => options.split === 'all' || hash32(identity(problem), 0x48) / 4294967296 < options.heldOutFraction === (options.split === 'held_out');
  const draw = (random: Random): Problem => ({
    operands: Array.from({ length: terms }, () => random.int(min, max)),
    signs: Array.from({ length: terms - 1 }, () => random.pick(signs)),
  });
  const drawn = (random: Random, accept: (problem: Problem) => boolean, wanted: string): Problem => {
    for (let attempt = 0; attempt < 20_000; attempt++) {
      const problem = draw(random);
      if (accept(problem)) return problem;
    }
    throw new EspalierError('bad_config', `arithmetic task: there are not enough different problems with ${terms} operands from ${min} to ${max} for ${wanted}`, { fix: 'a smaller `size`, or a wider range' });
  };

  const toRow = (problem: Problem): ArithmeticRow => {
    const expression = write(problem);
    const answer = String(evaluate(problem));
    const question = options.template.replace('{expression}', expression);
    const chat = options.format === 'messages';
    return {
      prompt: chat ? [{ role: 'user', content: question }] : question,
      ...(options.withCompletion ? { completion: chat ? [{ role: 'assistant', content: answer }] : answer } : {}),
      answer,
      expression,
    };
  };

  const name = options.split === 'all' ? 'arithmetic' : `arithmetic (${options.split.replace('_', ' ')})`;
  if (options.size !== undefined) {
    const { size } = options;
    const random = new Random(options.seed, 0xa1);
    const seen = new Set<string>();
    const rows = Array.from({ length: size }, (_, i) => {
      const problem = drawn(random, (candidate) => belongs(candidate) && !seen.has(write(candidate)), `row ${i + 1} of ${size}`);
      seen.add(write(problem));
      return toRow(problem);
    });
    return { ...datasetOf(rows, name), row: (index) => rows[index] };
  }
  return {
    name,
    size: Infinity,
    row: (index) => toRow(drawn(new Random(options.seed, 0xa2, index), belongs, `the split ${options.split}`)),
    origin: () => ({}),
  };
}
