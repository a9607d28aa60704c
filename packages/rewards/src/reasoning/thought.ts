import { defineReward, type RewardFunction, type RewardSample } from '@espalier/spec';

/** A completion that thinks aloud, in its two parts. */
export interface Thought {
  /** What stands between `<think>` and `</think>`; null where there is no such block, or more than one. */
  thought: string | null;
  /** What follows it; the whole completion where there is none. */
  answer: string;
}

const block = /^\s*<think>([\s\S]*?)<\/think>([\s\S]*)$/;

/** The thought and the answer of a completion. A block that is opened twice, or not closed, is no thought. */
export function splitThought(completion: string): Thought {
  const match = block.exec(completion);
  if (!match || (completion.match(/<think>/g) ?? []).length > 1 || (completion.match(/<\/think>/g) ?? []).length > 1) return { thought: null, answer: completion };
  return { thought: match[1].trim(), answer: match[2].trim() };
}

export interface ThoughtOptions {
  /** Words that a thought has at least. Default 1. */
  minWords?: number;
  name?: string;
}

/**
 * 1 when the completion is one `<think>` block that says something and an answer that says something after it, else 0. Stricter than `format`, which an empty
 * block and an empty answer pass.
 *
 * @example
 * await thoughtReward({ minWords: 5 }).score(samples, { step: 0 });
 */
export function thoughtReward(options: ThoughtOptions = {}): RewardFunction {
  const { minWords = 1 } = options;
  return defineReward({
    name: options.name ?? 'thought',
    score: async (samples) =>
      samples.map(({ completion }) => {
        const { thought, answer } = splitThought(completion);
        return Number(thought !== null && words(thought).length >= minWords && /[\p{L}\p{N}]/u.test(answer));
      }),
  });
}

const words = (text: string): string[] => text.match(/[\p{L}\p{N}]+/gu) ?? [];

/** The text that steps are looked for in: the thought, or the whole completion where it has none. */
export const reasoningOf = ({ completion }: Pick<RewardSample, 'completion'>): string => splitThought(completion).thought ?? completion;

/** Different steps of a thought: lines and sentences of at least 3 words, each counted once however often it is repeated (numbers aside). */
export function reasoningSteps(text: string): string[] {
  const parts = text.split(/\n+|(?<=[.!?;])\s+/u).map((part) => part.trim()).filter((part) => words(part).length >= 3);
  return [...new Map(parts.map((part) => [words(part.toLowerCase()).join(' '), part])).values()];
}
