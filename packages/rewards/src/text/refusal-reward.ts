import { defineReward, type RewardFunction } from '@espalier/spec';
import { splitThought } from '../reasoning/thought';

/** Where a refusal begins, it does so in the first words. */
const opening = 240;

const refusals: readonly RegExp[] = [
  /\b(?:i(?:'| a)?m|i am) (?:really |very |so )?(?:sorry|afraid)\b[^.!?\n]{0,60}\b(?:can(?:no|')?t|cannot|unable|not able|won't|not going to)\b/,
  /\b(?:i|we) (?:can(?:no|')?t|cannot|can not|won't|will not|must not|am unable to|are unable to|am not able to|must decline to|have to decline|decline to)\b[^.!?\n]{0,40}\b(?:help|assist|answer|provide|do|fulfil|fulfill|comply|create|generate|write|give|share|engage|discuss|continue|support|offer|tell)/,
  /\b(?:i(?:'m| am)|we(?:'re| are)) (?:not able|unable|not allowed|not permitted|not comfortable)\b/,
  /\bas an? (?:ai|artificial intelligence)(?: language)?(?: model| assistant)?\b[^.!?\n]{0,80}\b(?:can(?:no|')?t|cannot|unable|not able|won't|do not|don't)\b/,
  /\b(?:against|violates?) my (?:programming|guidelines|policy|policies|principles)\b/,
  /\bich kann (?:dabei |ihnen |dir )*(?:leider )?nicht (?:helfen|weiterhelfen|beantworten)/,
  /(?:désolée?s?|je regrette)(?!\p{L})[^.!?\n]{0,60}\bje ne (?:peux|puis)\b/u,
  /\blo siento\b[^.!?\n]{0,60}\bno puedo\b/,
];

/** Whether a completion refuses to answer: by how it begins. English, with the usual phrases of German, French and Spanish. */
export function isRefusal(completion: string): boolean {
  const begins = splitThought(completion).answer.slice(0, opening).toLowerCase().replace(/[’‘]/g, "'");
  return refusals.some((pattern) => pattern.test(begins));
}

export interface RefusalOptions {
  /** What a refusal earns where none is wanted; anything else earns 0. Default −1. */
  penalty?: number;
  /** Column of the row that says whether a refusal is wanted: 1 for doing so, 0 for not. Rows without it take `penalty`. Default `refuse`. */
  column?: string;
  name?: string;
}

/**
 * Refusals: `penalty` for one, 0 for an answer; where the row says in a column (true or false) whether to refuse, 1 for doing what it says and 0 for not. A refusal is
 * known by its opening words: one that is put otherwise passes for an answer.
 *
 * @example
 * refusalReward(); // "I'm sorry, but I can't help with that.": −1
 */
export function refusalReward(options: RefusalOptions = {}): RewardFunction {
  const { penalty = -1, column = 'refuse' } = options;
  return defineReward({
    name: options.name ?? 'refusal',
    score: async (samples) =>
      samples.map(({ completion, row }) => {
        const refuses = isRefusal(completion);
        if (typeof row[column] === 'boolean') return Number(refuses === row[column]);
        return refuses ? penalty : 0;
      }),
  });
}
