import { createHash } from 'node:crypto';
import { defineReward, EspalierError, type Reward, type RewardFunction, type RewardSample } from '@espalier/spec';

export interface CachedOptions {
  /** Samples remembered; the one that was not asked for the longest is forgotten. Default 100 000. */
  maxEntries?: number;
  /** What a reward depends on, when not on all of prompt, completion, its tokens, finish reason and row. */
  key?(sample: RewardSample): unknown;
}

/** JSON with sorted keys: equal content, equal text. */
function canonical(value: unknown): string {
  if (ArrayBuffer.isView(value)) return `[${Array.from(value as unknown as ArrayLike<number>).join(',')}]`;
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'undefined';
  return `{${Object.keys(value).sort().map((key) => `${JSON.stringify(key)}:${canonical((value as Record<string, unknown>)[key])}`).join(',')}}`;
}

const contentOf = ({ prompt, completion, completionTokens, finishReason, row }: RewardSample): unknown => [prompt, completion, completionTokens, finishReason, row];

/**
 * Scores what has the same content once: for judges, compilers and services. Also within a call, and for calls under way at the same time. A failure is not
 * remembered; null is.
 *
 * The group is no part of the content: not for rewards that compare the samples of a prompt (`diversity`), nor for those that keep state, which are refused.
 *
 * @throws EspalierError `bad_config`
 *
 * @example
 * cachedReward(remoteReward({ url: 'http://127.0.0.1:8080/score' }));
 */
export function cachedReward(reward: RewardFunction, options: CachedOptions = {}): RewardFunction {
  const { maxEntries = 100_000, key = contentOf } = options;
  if (!(maxEntries >= 1)) throw new EspalierError('bad_config', `\`maxEntries\` is ${String(maxEntries)}`, { fix: 'a number from 1' });
  if (reward.state) throw new EspalierError('bad_config', `reward function "${reward.name}" keeps state: what it gives depends on what it has seen`, { fix: 'leave it uncached' });
  const known = new Map<string, Promise<Reward | null>>();
  return defineReward({
    name: reward.name,
    async score(samples, context) {
      const digests = samples.map((sample) => createHash('sha256').update(canonical(key(sample))).digest('base64'));
      const missing = [...new Map(digests.map((digest, i) => [digest, i] as const)).entries()].filter(([digest]) => !known.has(digest));
      if (missing.length > 0) {
        const scoring = reward.score(missing.map(([, i]) => samples[i]), context).then((scores) => {
          if (scores.length !== missing.length) throw new EspalierError('bad_data', `reward function "${reward.name}" gave ${scores.length} rewards for ${missing.length} samples`, { fix: 'one a sample, null where it does not apply' });
          return scores;
        });
        missing.forEach(([digest], k) => {
          const one = scoring.then((scores) => scores[k]);
          one.catch(() => known.delete(digest));
          known.set(digest, one);
        });
      }
      const answers = digests.map((digest) => {
        const answer = known.get(digest)!;
        known.delete(digest);
        known.set(digest, answer); // the newest comes last
        return answer;
      });
      while (known.size > maxEntries) known.delete(known.keys().next().value!);
      context.log?.(`${reward.name}/cached`, samples.length === 0 ? 0 : 1 - missing.length / samples.length);
      return Promise.all(answers);
    },
  });
}
