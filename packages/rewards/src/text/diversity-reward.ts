import { defineReward, EspalierError, type RewardFunction, type RewardSample } from '@espalier/spec';
import { verdicts } from '../reasoning/step-rewards';
import { embedAll } from './embeddings';
import { cosine, ngramsOf, wordsOf, type Embed } from './text-units';

export const diversityMeasures = ['distinct', 'self_bleu', 'embedding'] as const;

export interface DiversityOptions {
  /**
   * `distinct`: share of a completion's n-grams of words that no other one of its group has. `self_bleu`: 1 less BLEU-4 against the others (Zhu et al. 2018,
   * 1802.01886), smoothed. `embedding`: mean cosine distance to the others. Default `distinct`.
   */
  measure?: (typeof diversityMeasures)[number];
  /** Of the n-grams of `distinct`. Default 2. */
  n?: number;
  /** Vectors of texts, for `embedding`. */
  embed?: Embed;
  /** What says whether a completion is right: a wrong one then earns nothing by being different. Default: all count. */
  correct?: RewardFunction;
  name?: string;
}

/**
 * How much a completion differs from the others of its prompt (its `group`), from 0 to 1; null where there are no others. Where it is trained on, give `correct`:
 * nonsense is diverse too.
 *
 * @throws EspalierError `bad_config`
 *
 * @example
 * diversityReward({ measure: 'self_bleu', correct: numericReward() });
 */
export function diversityReward(options: DiversityOptions = {}): RewardFunction {
  const { measure = 'distinct', n = 2, embed, correct } = options;
  if (!diversityMeasures.includes(measure)) throw new EspalierError('bad_config', `\`measure\` is ${JSON.stringify(measure)}`, { fix: `one of ${diversityMeasures.join(', ')}` });
  if (!(Number.isInteger(n) && n >= 1)) throw new EspalierError('bad_config', `\`n\` is ${String(n)}`, { fix: 'a whole number from 1' });
  if (measure === 'embedding' && !embed) throw new EspalierError('bad_config', '`measure` is embedding and there is no `embed`', { fix: 'a function that makes vectors of texts' });
  return defineReward({
    name: options.name ?? 'diversity',
    async score(samples, context) {
      const right = correct ? await verdicts(correct, samples, context) : null;
      const groups = new Map<string, number[]>();
      samples.forEach(({ group }, i) => groups.set(group, [...(groups.get(group) ?? []), i]));
      const vectors = measure === 'embedding' ? await embedAll(embed!, samples.map(({ completion }) => completion), context.signal) : null;
      const scores = new Array<number | null>(samples.length).fill(null);
      for (const members of groups.values()) {
        if (members.length < 2) continue;
        const group = members.map((i) => samples[i]);
        const values = measure === 'distinct' ? distinct(group, n) : measure === 'self_bleu' ? selfBleu(group) : spread(group.map(({ completion }) => vectors!.get(completion)!));
        members.forEach((i, k) => (scores[i] = values[k]));
      }
      return scores.map((score, i) => (score === null || (right && right[i] === null) ? null : right && !right[i] ? 0 : score));
    },
  });
}

function distinct(group: readonly RewardSample[], n: number): number[] {
  const all = group.map(({ completion }) => {
    const words = wordsOf(completion);
    return new Set(ngramsOf(words, Math.max(1, Math.min(n, words.length))));
  });
  const holders = new Map<string, number>();
  for (const own of all) for (const gram of own) holders.set(gram, (holders.get(gram) ?? 0) + 1);
  return all.map((own) => (own.size === 0 ? 0 : [...own].filter((gram) => holders.get(gram) === 1).length / own.size));
}

const selfBleu = (group: readonly RewardSample[]): number[] => {
  const words = group.map(({ completion }) => wordsOf(completion));
  return words.map((own, i) => (own.length === 0 ? 0 : 1 - bleu(own, words.filter((_, k) => k !== i))));
};

/**
 * BLEU of a text against references (Papineni et al. 2002), up to 4-grams, or to its own length; one is added to the counts from 2-grams on, so that a short text
 * is not 0 at once (Lin and Och 2004).
 *
 * @example
 * bleu(['a', 'b', 'c'], [['a', 'b', 'c']]); // 1
 */
export function bleu(text: readonly string[], references: readonly (readonly string[])[], most = 4): number {
  if (text.length === 0 || references.every((reference) => reference.length === 0)) return 0;
  const orders = Math.min(most, text.length);
  let logs = 0;
  for (let n = 1; n <= orders; n++) {
    const counts = tally(ngramsOf(text, n));
    const limits = references.map((reference) => tally(ngramsOf(reference, n)));
    let [matched, total] = [0, 0];
    for (const [gram, count] of counts) {
      matched += Math.min(count, Math.max(...limits.map((limit) => limit.get(gram) ?? 0)));
      total += count;
    }
    const smooth = n > 1 ? 1 : 0;
    if (matched + smooth === 0) return 0;
    logs += Math.log((matched + smooth) / (total + smooth)) / orders;
  }
  const closest = references.map(({ length }) => length).reduce((best, length) => (Math.abs(length - text.length) < Math.abs(best - text.length) || (Math.abs(length - text.length) === Math.abs(best - text.length) && length < best) ? length : best));
  return Math.exp(logs) * (text.length >= closest ? 1 : Math.exp(1 - closest / text.length));
}

function tally(items: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const item of items) counts.set(item, (counts.get(item) ?? 0) + 1);
  return counts;
}

/** Mean cosine distance to the others; beyond 1, which is a right angle, it counts as 1. */
const spread = (vectors: readonly ArrayLike<number>[]): number[] => vectors.map((own, i) => vectors.reduce((sum, other, k) => (k === i ? sum : sum + Math.min(1, Math.max(0, 1 - cosine(own, other)))), 0) / (vectors.length - 1));
