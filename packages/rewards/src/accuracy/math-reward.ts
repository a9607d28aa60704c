import { defineReward, EspalierError, type RewardFunction } from '@espalier/spec';
import type { AnswerOptions } from '../answer-rewards';
import { afterReasoning, answerCandidates, latexAnswer } from './final-answer';
import { sameAnswer } from './math-equal';
import { parseAnswer, type MathValue } from './math-values';

export interface MathOptions extends AnswerOptions {
  /** Only answers in LaTeX count, boxed or announced by the word "answer", as in TRL's `accuracy_reward`. Default false: plain text is read too. */
  latexOnly?: boolean;
  /** The answer stands behind the last of these. Default `['</think>']`. */
  delimiters?: readonly string[];
  /** A completion without any delimiter earns 0, as in TRL's `reasoning_accuracy_reward`. Default false: it is read whole. */
  requireReasoning?: boolean;
}

/** The right answer of a row, read; null where it is missing or no mathematics. A number, text, or text with its answer in a box. */
export function readReference(reference: unknown): MathValue | null {
  if (typeof reference === 'number') return Number.isFinite(reference) ? parseAnswer(String(reference)) : null;
  if (typeof reference === 'bigint') return parseAnswer(String(reference));
  if (typeof reference !== 'string') return null;
  const whole = latexAnswer(reference) === null ? parseAnswer(reference) : null;
  if (whole) return whole;
  const prose = latexAnswer(reference) !== null || /[a-z]{2}|####/i.test(reference.replace(/\\[a-z]+/gi, '')); // a solution in words; a formula that is broken is none
  return prose ? firstReadable(answerCandidates(reference)) : null;
}

function firstReadable(candidates: readonly string[]): MathValue | null {
  for (const candidate of candidates) {
    const value = parseAnswer(candidate);
    if (value) return value;
  }
  return null;
}

/** Whether a completion gives the answer that a reference says; null where the reference cannot be read. */
export function mathAnswerIs(reference: unknown, completion: string, options: Pick<MathOptions, 'latexOnly'> = {}): boolean | null {
  const right = readReference(reference);
  if (right === null) return null;
  const latex = options.latexOnly ? latexAnswer(completion) : null;
  const given = options.latexOnly ? latex !== null && parseAnswer(latex) : firstReadable(answerCandidates(completion));
  return given ? sameAnswer(right, given) : false;
}

/**
 * 1 when the answer of the completion is mathematically that of the row, else 0; null when the row's answer is missing or cannot be read. Reads fractions, percentages,
 * thousands separators, scientific notation, mixed numbers, LaTeX (`\frac`, `\sqrt`, `\boxed` …), amounts in units of the same kind (2.5 km = 2500 m), tuples, sets,
 * intervals, equations, and formulas, which are compared by their values at several points, in exact fractions wherever they allow it.
 *
 * With `latexOnly` it takes answers from where TRL's `accuracy_reward` does, and with `requireReasoning` from where its `reasoning_accuracy_reward` does.
 *
 * @throws EspalierError `bad_config` for an empty delimiter
 * @example
 * const [score] = await mathReward().score([sample], { step: 0 }); // 'So it is \boxed{\frac{1}{2}}' with row { answer: '0.5' }: 1
 */
export function mathReward(options: MathOptions = {}): RewardFunction {
  const { column = 'answer', latexOnly = false, delimiters = ['</think>'], requireReasoning = false } = options;
  if (delimiters.some((delimiter) => delimiter === '')) throw new EspalierError('bad_config', 'one of the `delimiters` is empty', { fix: 'such as </think>' });
  return defineReward({
    name: options.name ?? (requireReasoning ? 'reasoning_accuracy' : 'math'),
    score: async (samples) =>
      samples.map(({ completion, row }) => {
        const answer = afterReasoning(completion, delimiters);
        if (answer === null && requireReasoning) return readReference(row[column]) === null ? null : 0;
        const right = mathAnswerIs(row[column], answer ?? completion, { latexOnly });
        return right === null ? null : Number(right);
      }),
  });
}
