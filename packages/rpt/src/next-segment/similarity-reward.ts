import { defineReward, EspalierError, type RewardFunction } from '@espalier/spec';
import { afterThought } from '../prefix-match';

/** How alike two texts are: from 0 to 1. */
export type Similarity = (prediction: string, reference: string) => number | Promise<number>;
/** Vectors of texts, one each. */
export type Embed = (texts: readonly string[]) => Promise<readonly ArrayLike<number>[]>;

const wordsOf = (text: string): string[] => text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];

/**
 * F1 of the words that two texts share, each counted as often as it stands in both; capitals and punctuation do not count. 0 when one has none.
 * @example
 * tokenF1('The dog ran.', 'the dog slept'); // 2/3
 */
export function tokenF1(prediction: string, reference: string): number {
  const [given, truth] = [wordsOf(prediction), wordsOf(reference)];
  const left = new Map<string, number>();
  for (const word of truth) left.set(word, (left.get(word) ?? 0) + 1);
  let same = 0;
  for (const word of given) {
    const count = left.get(word) ?? 0;
    if (count > 0) same++;
    left.set(word, count - 1);
  }
  return same === 0 ? 0 : (2 * same) / (given.length + truth.length);
}

/** The cosine of two vectors, negative ones as 0. */
function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) throw new EspalierError('bad_data', `embeddings have ${a.length} and ${b.length} numbers`, { fix: 'vectors of one length' });
  let [dot, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    dot += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  return aa > 0 && bb > 0 ? Math.max(0, dot / Math.sqrt(aa * bb)) : 0;
}

export interface SegmentSimilarityOptions {
  /** Default: {@link tokenF1}. */
  similarity?: Similarity;
  /** Compare by the cosine of embeddings in place of it. */
  embed?: Embed;
  /** What ends thinking. Default `</think>`. */
  endOfThinking?: string;
  name?: string;
}

/**
 * How well a predicted segment agrees with the true one, or with it and some of those after it (rows of `segmentQuestions`): the best of these. An empty prediction
 * earns 0; null for rows without `segments`.
 * @throws EspalierError `bad_config` for both `similarity` and `embed`
 */
export function segmentSimilarityReward(options: SegmentSimilarityOptions = {}): RewardFunction {
  const { embed, similarity = tokenF1 } = options;
  if (embed && options.similarity) throw new EspalierError('bad_config', 'both `similarity` and `embed` were given', { fix: 'one of them' });
  return defineReward({
    name: options.name ?? 'segment_similarity',
    async score(samples) {
      const asked = samples.map(({ completion, row }) => (isTexts(row.segments) ? { prediction: afterThought(completion, options.endOfThinking).trim(), references: prefixes(row.segments) } : null));
      if (!embed) return Promise.all(asked.map(async (entry) => (entry === null ? null : entry.prediction === '' ? 0 : Math.max(...(await Promise.all(entry.references.map(async (reference) => similarity(entry.prediction, reference))))))));
      const texts = [...new Set(asked.flatMap((entry) => (entry && entry.prediction !== '' ? [entry.prediction, ...entry.references] : [])))];
      const vectors = texts.length === 0 ? [] : await embed(texts);
      if (vectors.length !== texts.length) throw new EspalierError('bad_config', `\`embed\` gave ${vectors.length} vectors for ${texts.length} texts`, { fix: 'one a text' });
      const of = new Map(texts.map((text, i) => [text, vectors[i]]));
      return asked.map((entry) => (entry === null ? null : entry.prediction === '' ? 0 : Math.max(...entry.references.map((reference) => cosine(of.get(entry.prediction)!, of.get(reference)!)))));
    },
  });
}

export const isTexts = (value: unknown): value is string[] => Array.isArray(value) && value.length > 0 && value.every((item) => typeof item === 'string');

/** The first segment, the first two, … */
const prefixes = (segments: readonly string[]): string[] => segments.map((_, i) => segments.slice(0, i + 1).join(' '));
