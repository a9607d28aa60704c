import { defineReward, type RewardFunction } from '@espalier/spec';

export interface PrefixMatchOptions {
  /** Where the prediction stands: in the last `\boxed{…}` after the end of thinking (the paper), or the whole completion. Default `boxed`. */
  prediction?: 'boxed' | 'text';
  /** What ends thinking. Default `</think>`. */
  endOfThinking?: string;
  name?: string;
}

/** The content of the last `\boxed{…}` of a text, braces inside balanced; null when there is none. */
export function lastBoxed(text: string): string | null {
  for (let start = text.lastIndexOf('\\boxed{'); start >= 0; start = start > 0 ? text.lastIndexOf('\\boxed{', start - 1) : -1) {
    let depth = 1;
    const begin = start + '\\boxed{'.length;
    for (let i = begin; i < text.length; i++) {
      if (text[i] === '{') depth++;
      else if (text[i] === '}' && --depth === 0) return text.slice(begin, i);
    }
  }
  return null;
}

/** What stands behind the thought, if there is one. */
export function afterThought(completion: string, endOfThinking = '</think>'): string {
  const end = completion.lastIndexOf(endOfThinking);
  return end < 0 ? completion : completion.slice(end + endOfThinking.length);
}

/** What a completion predicts; null when it has no prediction. */
export function predictionOf(completion: string, options: PrefixMatchOptions = {}): string | null {
  const answer = afterThought(completion, options.endOfThinking);
  return (options.prediction ?? 'boxed') === 'boxed' ? lastBoxed(answer) : answer;
}

/** Whether the prediction begins the true continuation and ends at a token boundary of it, in bytes; null for a row that has none. */
export function prefixMatches(completion: string, row: Readonly<Record<string, unknown>>, options: PrefixMatchOptions = {}): boolean | null {
  const { continuation, boundaries } = row;
  if (typeof continuation !== 'string' || !Array.isArray(boundaries)) return null;
  const prediction = predictionOf(completion, options);
  if (prediction === null || prediction === '') return false;
  const [given, truth] = [Buffer.from(prediction), Buffer.from(continuation)];
  return boundaries.includes(given.length) && truth.subarray(0, given.length).equals(given);
}

/**
 * The prefix-matching reward of Reinforcement Pre-Training (Dong et al. 2025, 2506.08007, §3.1): 1 iff the bytes of the prediction are the first l
 * bytes of the true continuation and l is a token boundary of it, so that predictions of several tokens count and half a token does not.
 * Rows need `continuation` (text) and `boundaries` (cumulative byte lengths of its tokens), as {@link corpusQuestions} makes them; null without.
 */
export function prefixMatchReward(options: PrefixMatchOptions = {}): RewardFunction {
  return defineReward({
    name: options.name ?? 'prefix_match',
    score: async (samples) =>
      samples.map(({ completion, row }) => {
        const matches = prefixMatches(completion, row, options);
        return matches === null ? null : Number(matches);
      }),
  });
}
