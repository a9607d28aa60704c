import { defineReward, EspalierError, isEspalierError, throwIfAborted, type Reward, type RewardContext, type RewardFunction, type RewardSample } from '@espalier/spec';
import { TransientFailure, withRetries, type RetryOptions } from '@espalier/spec/retry';
import { inParallel } from './in-parallel';

export interface ResilientOptions extends RetryOptions {
  /** Samples a call. Default: all of a group together, and never less. */
  batchSize?: number;
  /** Calls under way at once. Default 4. */
  concurrency?: number;
  /** A call that takes longer is given up, its signal fired, and tried again. Default 60 000 ms. */
  timeoutMs?: number;
  /** What becomes of samples whose last try failed: `throw` ends the run; `null` leaves them out, counted under `<name>/failed`. Default `throw`. */
  onFailure?: 'throw' | 'null';
}

/**
 * Makes a slow or moody reward function fit for training: calls with few samples, several at once, time-outs, retries with growing waits. Samples of one group stay in
 * one call. Wrong input and wrong use (`bad_config`, `bad_data`, `usage`, `not_found`) are not tried again.
 *
 * @throws EspalierError `bad_config`; when scoring, `network` when the last try failed, `aborted`
 *
 * @example
 * resilientReward(judgeReward, { concurrency: 8, batchSize: 16, timeoutMs: 20_000, maxRetries: 3, onFailure: 'null' });
 */
export function resilientReward(reward: RewardFunction, options: ResilientOptions = {}): RewardFunction {
  const { batchSize = 1, concurrency = 4, timeoutMs = 60_000, onFailure = 'throw', ...retry } = options;
  for (const [name, value] of Object.entries({ batchSize, concurrency, timeoutMs })) if (!(value >= 1)) throw new EspalierError('bad_config', `\`${name}\` is ${String(value)}`, { fix: 'a number from 1' });
  return defineReward({
    name: reward.name,
    ...(reward.state && reward.restore ? { state: () => reward.state!(), restore: (state: unknown) => reward.restore!(state) } : {}),
    async score(samples, context) {
      throwIfAborted(context.signal);
      const batches = batchesOf(samples, batchSize);
      const scored = await inParallel(batches, concurrency, async (batch) => {
        try {
          return await withRetries(`reward function "${reward.name}"`, () => inTime(reward, batch.map((i) => samples[i]), context, timeoutMs), { maxRetries: 4, ...retry, isTransient, signal: context.signal });
        } catch (error) {
          if (onFailure === 'throw' || context.signal?.aborted || !(isEspalierError(error) && error.code === 'network')) throw error;
          context.log?.(`${reward.name}/failed`, batch.length);
          return batch.map(() => null);
        }
      });
      const results = new Array<Reward | null>(samples.length).fill(null);
      batches.forEach((batch, b) => batch.forEach((i, k) => (results[i] = scored[b][k])));
      return results;
    },
  });
}

const forGood = new Set(['bad_config', 'bad_data', 'usage', 'not_found', 'unsupported', 'incompatible_plugin', 'closed']);
const isTransient = (error: unknown) => !(isEspalierError(error) && forGood.has(error.code));

/** Indices in batches of at least `size`, whole groups together. */
export function batchesOf(samples: readonly RewardSample[], size: number): number[][] {
  const groups = new Map<string, number[]>();
  samples.forEach(({ group }, i) => {
    const members = groups.get(group);
    if (members) members.push(i);
    else groups.set(group, [i]);
  });
  const batches: number[][] = [];
  for (const members of groups.values()) {
    const last = batches.at(-1);
    if (last && last.length + members.length <= size) last.push(...members);
    else batches.push([...members]);
  }
  return batches;
}

async function inTime(reward: RewardFunction, samples: readonly RewardSample[], context: RewardContext, timeoutMs: number): Promise<readonly (Reward | null)[]> {
  const controller = new AbortController();
  const onAbort = () => controller.abort(context.signal?.reason);
  context.signal?.addEventListener('abort', onAbort, { once: true });
  let timer: NodeJS.Timeout | undefined;
  try {
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        reject(new TransientFailure(`no rewards within ${timeoutMs} ms`));
        controller.abort();
      }, timeoutMs);
      controller.signal.addEventListener('abort', () => reject(new TransientFailure('aborted')), { once: true });
    });
    late.catch(() => undefined);
    const scores = await Promise.race([reward.score(samples, { ...context, signal: controller.signal }), late]);
    if (!Array.isArray(scores) || scores.length !== samples.length) throw new EspalierError('bad_data', `reward function "${reward.name}" gave ${Array.isArray(scores) ? scores.length : typeof scores} rewards for ${samples.length} samples`, { fix: 'one a sample, null where it does not apply' });
    return scores;
  } finally {
    clearTimeout(timer);
    context.signal?.removeEventListener('abort', onAbort);
  }
}
