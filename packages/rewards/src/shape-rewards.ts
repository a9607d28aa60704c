import { defineReward, EspalierError, type RewardFunction } from '@espalier/spec';
import { requirePositive } from './answer-rewards';

export interface FormatOptions {
  /** What a completion must match. Default: one `<think>…</think>` block at the start (TRL: `think_format_reward`). */
  pattern?: RegExp | string;
  name?: string;
}

/** TRL's pattern: the completion opens with a think block that is closed, and no second one opens. */
const thinkPattern = /^<think>(?![\s\S]*<think>)([\s\S]*?)<\/think>[\s\S]*$/;

/**
 * 1 when the completion matches the pattern, else 0.
 * @throws EspalierError `bad_config` for text that is no regular expression
 */
export function formatReward(options: FormatOptions = {}): RewardFunction {
  const given = options.pattern ?? thinkPattern;
  const pattern = typeof given === 'string' ? compile(given) : new RegExp(given.source, given.flags.replace(/[gy]/g, '')); // without a memory of the last match
  return defineReward({ name: options.name ?? 'format', score: async (samples) => samples.map(({ completion }) => Number(pattern.test(completion))) });
}

function compile(source: string): RegExp {
  try {
    return new RegExp(source, 's');
  } catch (cause) {
    throw new EspalierError('bad_config', `\`pattern\` ${JSON.stringify(source)} is no regular expression: ${(cause as Error).message}`, { cause });
  }
}

export interface LengthOptions {
  /** Completions of this many tokens get the whole penalty. */
  maxLength: number;
  /** Tokens before `maxLength` over which the penalty grows. Default: a fifth of `maxLength`. */
  cache?: number;
  name?: string;
}

/**
 * DAPO's soft punishment of overlong completions (2503.14476 eq. 13; TRL: `get_soft_overlong_punishment`): 0 up to `maxLength − cache` tokens, from
 * there in a straight line to −1 at `maxLength`, −1 beyond.
 * @throws EspalierError `bad_config` unless 0 < cache ≤ maxLength
 */
export function lengthReward(options: LengthOptions): RewardFunction {
  const { maxLength } = options;
  requirePositive('maxLength', maxLength);
  const cache = options.cache ?? maxLength / 5;
  requirePositive('cache', cache);
  if (cache > maxLength) throw new EspalierError('bad_config', `\`cache\` ${cache} is over \`maxLength\` ${maxLength}`, { fix: 'a part of it' });
  return defineReward({
    name: options.name ?? 'length',
    score: async (samples) =>
      samples.map(({ completionTokens: { length } }) => (length <= maxLength - cache ? 0 : length <= maxLength ? (maxLength - cache - length) / cache : -1)),
  });
}

export interface RepetitionOptions {
  /** Tokens of an n-gram. Default 3. */
  ngramSize?: number;
  /** What a completion of nothing but repetitions comes close to: 0 or less. Default −1. */
  maxPenalty?: number;
  name?: string;
}

/**
 * (1 − different n-grams / n-grams) × maxPenalty over the tokens of the completion; 0 for one shorter than an n-gram (2502.03373, appendix C.2; TRL:
 * `get_repetition_penalty_reward`).
 * @throws EspalierError `bad_config` for a positive penalty or an n-gram of no tokens
 */
export function repetitionReward(options: RepetitionOptions = {}): RewardFunction {
  const { ngramSize = 3, maxPenalty = -1 } = options;
  if (!(Number.isInteger(ngramSize) && ngramSize >= 1)) throw new EspalierError('bad_config', `\`ngramSize\` is ${String(ngramSize)}`, { fix: 'a whole number from 1' });
  if (!(maxPenalty <= 0)) throw new EspalierError('bad_config', `\`maxPenalty\` is ${String(maxPenalty)}, which would reward repetition`, { fix: '0 or less' });
  return defineReward({
    name: options.name ?? 'repetition',
    score: async (samples) =>
      samples.map(({ completionTokens }) => {
        const total = completionTokens.length - ngramSize + 1;
        if (total <= 0) return 0;
        const different = new Set(Array.from({ length: total }, (_, i) => completionTokens.subarray(i, i + ngramSize).join(' ')));
        return (1 - different.size / total) * maxPenalty + 0; // + 0: no −0
      }),
  });
}
