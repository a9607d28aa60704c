import { defineReward, EspalierError, type RewardFunction, type TextModel } from '@espalier/spec';
import { deriveSeed } from '@espalier/trainer';
import { afterThought } from '../prefix-match';
import { isTexts } from './similarity-reward';

export interface SegmentJudgeOptions {
  /** Asked on every call where it is a function. */
  judge: TextModel | (() => TextModel | Promise<TextModel>);
  /** The question; `{context}`, `{reference}` and `{prediction}` stand for the texts. */
  template?: string;
  /** What ends thinking. Default `</think>`. */
  endOfThinking?: string;
  /** Longest answer, in tokens. Default 128. */
  maxNewTokens?: number;
  name?: string;
}

const defaultTemplate = `A text goes on as the reference says. Decide whether the prediction says what the reference says, or its beginning, in whatever words; it may stop earlier than the reference, but may not say anything else.

Text:
{context}

Reference:
{reference}

Prediction:
{prediction}

End with the line "Verdict: 1" if it does, or "Verdict: 0" if it does not.`;

/**
 * The verdict in a judge's answer; null when there is none, or it is both.
 * @example
 * readVerdict('It says the same. Verdict: 1'); // 1
 */
export function readVerdict(answer: string): 0 | 1 | null {
  const named = [...answer.matchAll(/verdict\W{0,4}([01])(?!\.?\d)/gi)].at(-1);
  if (named) return Number(named[1]) as 0 | 1;
  const alone = new Set([...answer.matchAll(/(?<![\d.])([01])(?!\.?\d)/g)].map((match) => match[1]));
  return alone.size === 1 ? (Number([...alone][0]) as 0 | 1) : null;
}

/**
 * 1 iff a judge says that the prediction is a semantic prefix of the segments that follow (RLPT, Li et al. 2025, 2509.19249, §3: the exact next segment alone was too
 * strict); else 0. A verdict that cannot be read excludes the sample: null, which is counted, never 0. An empty prediction is 0 without a question; null for
 * rows without `segments` (as `segmentQuestions` makes them).
 */
export function segmentJudgeReward(options: SegmentJudgeOptions): RewardFunction {
  const { template = defaultTemplate, maxNewTokens = 128, judge } = options;
  for (const place of ['{reference}', '{prediction}']) if (!template.includes(place)) throw new EspalierError('bad_config', `the judge's template does not contain ${place}`);
  return defineReward({
    name: options.name ?? 'segment_judge',
    async score(samples, { step, signal, log }) {
      const predictions = samples.map(({ completion }) => afterThought(completion, options.endOfThinking).trim());
      const asked = samples.flatMap(({ row }, i) => (isTexts(row.segments) && predictions[i] !== '' ? [i] : []));
      const prompts = asked.map((i) => {
        const { segments, context } = samples[i].row;
        const texts: Record<string, string> = { context: typeof context === 'string' ? context : '', reference: (segments as string[]).join(' '), prediction: predictions[i] };
        return [{ role: 'user', content: template.replace(/\{(context|reference|prediction)\}/g, (_, name: string) => texts[name]) }];
      });
      const model = typeof judge === 'function' ? await judge() : judge;
      const answers = prompts.length === 0 ? [] : await model.complete(prompts, { maxNewTokens, temperature: 0, seeds: asked.map((i) => deriveSeed(step, i)), signal });
      if (answers.length !== prompts.length) throw new EspalierError('bad_config', `the judge gave ${answers.length} answers to ${prompts.length} questions`, { fix: 'one a question' });
      const verdicts = new Map(asked.map((i, k) => [i, readVerdict(answers[k])]));
      log?.('segment_judge/unreadable', [...verdicts.values()].filter((verdict) => verdict === null).length);
      return samples.map(({ row }, i) => (!isTexts(row.segments) ? null : predictions[i] === '' ? 0 : verdicts.get(i)!));
    },
  });
}
