import { setTimeout as sleep } from 'node:timers/promises';
import { EspalierError, isEspalierError, throwIfAborted } from '@espalier/spec';

/** What may go better the next time. */
export class TransientFailure extends Error {
  constructor(
    message: string,
    /** What the server asked to wait, in milliseconds. */
    readonly retryAfter: number | null = null,
    /** Whether it tells of too much load. */
    readonly overload = false,
  ) {
    super(message);
  }
}

export interface RetryOptions {
  /** Tries after the first. Default 8. */
  maxRetries?: number;
  /** The first wait, doubled each time. Default 500 ms. */
  baseDelayMs?: number;
  /** Default 30 000 ms. */
  maxDelayMs?: number;
  /** From 0 to 1: for tests. */
  random?(): number;
}

/** What is asked by `Retry-After`: seconds, or a date. Null when there is none. Milliseconds. */
export function retryAfter(header: string | null, now = Date.now()): number | null {
  if (header === null) return null;
  const seconds = Number(header);
  const wait = Number.isFinite(seconds) && header.trim() !== '' ? seconds * 1000 : Date.parse(header) - now;
  return Number.isFinite(wait) ? Math.min(300_000, Math.max(0, wait)) : null;
}

/** Full jitter (a uniform part of the doubled delay); a wait that the server asked for is kept, with up to a quarter more, so that not all come back at once. */
export function delayOf(attempt: number, failure: TransientFailure, options: RetryOptions): number {
  const { baseDelayMs = 500, maxDelayMs = 30_000, random = Math.random } = options;
  if (failure.retryAfter !== null) return failure.retryAfter * (1 + random() / 4);
  return random() * Math.min(maxDelayMs, baseDelayMs * 2 ** attempt);
}

/**
 * Tries until it succeeds, or fails for good.
 * @throws EspalierError `network` when the last try failed too, `aborted`, and whatever is not transient
 */
export async function withRetries<T>(what: string, attempt: () => Promise<T>, options: RetryOptions & { signal?: AbortSignal; onFailure?(failure: TransientFailure): void } = {}): Promise<T> {
  const { maxRetries = 8, signal } = options;
  for (let tries = 0; ; tries++) {
    throwIfAborted(signal);
    try {
      return await attempt();
    } catch (error) {
      throwIfAborted(signal);
      if (isEspalierError(error) || !(error instanceof TransientFailure)) throw error;
      options.onFailure?.(error);
      if (tries >= maxRetries) throw new EspalierError('network', `${what} failed ${tries + 1} times, at last: ${error.message}`, { fix: 'look whether the server runs and is reachable' });
      await sleep(delayOf(tries, error, options), undefined, { signal }).catch(() => throwIfAborted(signal));
    }
  }
}
