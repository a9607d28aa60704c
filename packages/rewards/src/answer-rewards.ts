import { defineReward, EspalierError, type RewardFunction, type RewardSample } from '@espalier/spec';
import { answerNumber, lastNumber } from './numbers';

export interface AnswerOptions {
  /** Column of the row that holds the right answer. Default `answer`. */
  column?: string;
  name?: string;
}

/** Text after the last of these counts; without one of them the whole completion does. */
const afterThinking = (text: string) => text.slice(text.lastIndexOf('</think>') < 0 ? 0 : text.lastIndexOf('</think>') + '</think>'.length);

/**
 * 1 when the last number of the completion equals the row's answer, 0 when it does not or there is none, null when the row's answer is no number.
 * Groups of thousands, decimals and signs are read: 1,234 = 1234.0. Numbers are compared as written, without rounding.
 *
 * @example
 * const [score] = await numericReward().score([sample], { step: 0 }); // 'That makes 12.' with row { answer: '12' }: 1
 */
export function numericReward(options: AnswerOptions = {}): RewardFunction {
  const column = options.column ?? 'answer';
  return defineReward({
    name: options.name ?? 'numeric',
    score: async (samples) =>
      samples.map(({ completion, row }) => {
        const answer = answerNumber(row[column]);
        return answer === null ? null : Number(lastNumber(completion) === answer);
      }),
  });
}

export interface ExactOptions extends AnswerOptions {
  /** Compare without regard to case, and to punctuation at the ends. White space never counts. Default true. */
  normalize?: boolean;
}

/** Unicode in composed form, white space as single spaces, and with `loose` lower case and no punctuation at the ends. */
export function normalizeText(text: string, loose = true): string {
  const squeezed = text.normalize('NFC').replace(/\s+/gu, ' ').trim();
  return loose ? squeezed.toLowerCase().replace(/^[\p{P}\s]+|[\p{P}\s]+$/gu, '') : squeezed;
}

/**
 * 1 when the completion (what follows `</think>`, where it thinks) is the row's answer, or one of its answers where the row has a list; else 0;
 * null when the row has none.
 */
export function exactReward(options: ExactOptions = {}): RewardFunction {
  const column = options.column ?? 'answer';
  const loose = options.normalize ?? true;
  return defineReward({
    name: options.name ?? 'exact',
    score: async (samples) =>
      samples.map(({ completion, row }) => {
        const answers = (Array.isArray(row[column]) ? (row[column] as unknown[]) : [row[column]]).filter((a) => typeof a === 'string' || typeof a === 'number').map(String);
        if (answers.length === 0) return null;
        const given = normalizeText(afterThinking(completion), loose);
        return Number(answers.some((answer) => normalizeText(answer, loose) === given));
      }),
  });
}

export interface CosineOptions {
  /** Tokens at which the schedule ends; longer completions stay at its end. */
  maxLength: number;
  minValueWrong?: number;
  maxValueWrong?: number;
  minValueCorrect?: number;
  maxValueCorrect?: number;
  /** What says whether a completion is right: right above 0.5. Default {@link numericReward}. */
  correct?: RewardFunction;
  name?: string;
}

/**
 * A correctness reward scaled by length along a cosine: the shorter a right completion the better, the shorter a wrong one the worse (2502.03373,
 * appendix C.1; TRL: `get_cosine_scaled_reward`). Defaults: right 1 to 0.5, wrong −1 to −0.5.
 * @throws EspalierError `bad_config` when `maxLength` is not positive
 */
export function cosineReward(options: CosineOptions): RewardFunction {
  const { maxLength, minValueWrong = -1, maxValueWrong = -0.5, minValueCorrect = 0.5, maxValueCorrect = 1, correct = numericReward() } = options;
  requirePositive('maxLength', maxLength);
  return defineReward({
    name: options.name ?? 'cosine',
    async score(samples, context) {
      const verdicts = await correct.score(samples, context);
      return samples.map((sample: RewardSample, i) => {
        const verdict = verdicts[i];
        if (verdict === null) return null;
        const right = (typeof verdict === 'number' ? verdict : verdict.total) > 0.5;
        const [low, high] = right ? [minValueCorrect, maxValueCorrect] : [maxValueWrong, minValueWrong];
        const progress = Math.min(sample.completionTokens.length / maxLength, 1);
        return low + 0.5 * (high - low) * (1 + Math.cos(progress * Math.PI));
      });
    },
  });
}

export function requirePositive(name: string, value: number): void {
  if (!(value > 0)) throw new EspalierError('bad_config', `\`${name}\` is ${String(value)}`, { fix: 'a number above 0' });
}
