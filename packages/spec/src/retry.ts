import { setTimeout as sleep } from 'node:timers/promises';
import { EspalierError, throwIfAborted } from './index';

/** What may go better the next time. */
export class TransientFailure extends Error {
  constructor(
    message: string,
    /** What was asked to wait, in milliseconds. */
    readonly retryAfter: number | null = null,
    /** Whether it tells of too much load. */
    readonly overload = false,
  ) {
    super(message);
  }
}

export interface RetryOptions {
  /** Tries after the first. Default 8; of rewards 4. */
  maxRetries?: number;
  /** The first wait, doubled each time. Default 500 ms. */
  baseDelayMs?: number;
  /** Default 30 000 ms. */
  maxDelayMs?: number;
  /** From 0 to 1: for tests. */
  random?(): number;
}

/** What is asked by `Retry-After`: seconds, or a date. Milliseconds, at most five minutes; null when there is none. */
export function retryAfter(header: string | null, now = Date.now()): number | null {
  if (header === null || header.trim() === '') return null;
  const seconds = Number(header);
  const wait = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(header) - now;
  return Number.isFinite(wait) ? Math.min(300_000, Math.max(0, wait)) : null;
}

/** Full jitter (a uniform part of the doubled delay); a wait that was asked for is kept, with up to a quarter more, so that not all come back at once. Milliseconds. */
export function delayOf(tries: number, failure: unknown, options: RetryOptions = {}): number {
  const { baseDelayMs = 500, maxDelayMs = 30_000, random = Math.random } = options;
  if (failure instanceof TransientFailure && failure.retryAfter !== null) return failure.retryAfter * (1 + random() / 4);
  return random() * Math.min(maxDelayMs, baseDelayMs * 2 ** tries);
}

/** What a loop of tries may be told besides. */
export interface WithRetriesOptions extends RetryOptions {
  signal?: AbortSignal | undefined;
  /** Which failures are worth another try. Default: {@link TransientFailure}. */
  isTransient?(error: unknown): boolean;
  /** Told of each. */
  onFailure?(failure: TransientFailure): void;
  /** What would do, when all tries have failed. */
  fix?: string;
}

/**
 * Tries until it succeeds, or fails for good.
 * @throws EspalierError `network` when the last try failed too, `aborted`, and whatever is not transient
 * @example
 * const answer = await withRetries('asking the judge', () => post(url, body), { maxRetries: 3, signal });
 */
export async function withRetries<T>(what: string, attempt: () => Promise<T>, options: WithRetriesOptions = {}): Promise<T> {
  const { maxRetries = 8, signal, fix, isTransient = (error) => error instanceof TransientFailure } = options;
  for (let tries = 0; ; tries++) {
    throwIfAborted(signal);
    try {
      return await attempt();
    } catch (error) {
      throwIfAborted(signal);
      if (!isTransient(error)) throw error;
      if (error instanceof TransientFailure) options.onFailure?.(error);
      const said = error instanceof Error ? error.message : String(error);
      if (tries >= maxRetries) throw new EspalierError('network', `${what} failed ${tries + 1} times, at last: ${said}`, { cause: error, ...(fix === undefined ? {} : { fix }) });
      await sleep(delayOf(tries, error, options), undefined, signal ? { signal } : {}).catch(() => throwIfAborted(signal));
    }
  }
}
