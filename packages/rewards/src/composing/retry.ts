import { setTimeout as sleep } from 'node:timers/promises';
import { EspalierError, throwIfAborted } from '@espalier/spec';

/** What may go better the next time. */
export class TransientFailure extends Error {
  constructor(
    message: string,
    /** What was asked to wait, in milliseconds. */
    readonly retryAfter: number | null = null,
  ) {
    super(message);
  }
}

export interface RetryOptions {
  /** Tries after the first. Default 4. */
  maxRetries?: number;
  /** The first wait, doubled each time; a uniform part of it is waited, so that not all come back at once. Default 500 ms. */
  baseDelayMs?: number;
  /** Default 30 000 ms. */
  maxDelayMs?: number;
  /** From 0 to 1: for tests. */
  random?(): number;
}

/**
 * Tries until it succeeds, or fails for good.
 * @throws EspalierError `network` when the last try failed too, `aborted`, and whatever `isTransient` does not hold for
 */
export async function withRetries<T>(what: string, attempt: () => Promise<T>, isTransient: (error: unknown) => boolean, options: RetryOptions & { signal?: AbortSignal | undefined } = {}): Promise<T> {
  const { maxRetries = 4, baseDelayMs = 500, maxDelayMs = 30_000, random = Math.random, signal } = options;
  for (let tries = 0; ; tries++) {
    throwIfAborted(signal);
    try {
      return await attempt();
    } catch (error) {
      throwIfAborted(signal);
      if (!isTransient(error)) throw error;
      if (tries >= maxRetries) throw new EspalierError('network', `${what} failed ${tries + 1} times, at last: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
      const asked = error instanceof TransientFailure ? error.retryAfter : null;
      const delay = asked === null ? random() * Math.min(maxDelayMs, baseDelayMs * 2 ** tries) : asked * (1 + random() / 4);
      await sleep(delay, undefined, signal ? { signal } : {}).catch(() => throwIfAborted(signal));
    }
  }
}

/** Runs `work` on every item, so many at a time, and gives the results in their order. The first failure ends it. */
export async function inParallel<Item, Result>(items: readonly Item[], concurrency: number, work: (item: Item, index: number) => Promise<Result>): Promise<Result[]> {
  const results = new Array<Result>(items.length);
  let next = 0;
  let failed = false;
  const one = async () => {
    while (next < items.length && !failed) {
      const i = next++;
      results[i] = await work(items[i], i).catch((error: unknown) => {
        failed = true;
        throw error;
      });
    }
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, items.length) }, one));
  return results;
}
