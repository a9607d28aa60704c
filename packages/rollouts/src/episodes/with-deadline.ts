import { EspalierError } from '@espalier/spec';

export interface Deadline {
  /** What is waited for, for the message. */
  what: string;
  /** Milliseconds; Infinity: none. */
  timeoutMs: number;
  signal?: AbortSignal | undefined;
}

/**
 * Waits for foreign code no longer than it may take. The call gets a signal of its own, which fires when its time is up or the caller's signal fires; one that does not
 * heed it is left alone. Code that never yields (an endless loop without `await`) holds the whole thread, which nothing in this process can end.
 *
 * @throws EspalierError `limit` when the time is up, `aborted` when the signal fires; what the call throws otherwise
 */
export async function withDeadline<T>(call: (signal: AbortSignal) => Promise<T> | T, { what, timeoutMs, signal }: Deadline): Promise<T> {
  if (signal?.aborted) throw new EspalierError('aborted', `${what} was aborted`, { cause: signal.reason });
  const own = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  let onAbort: (() => void) | undefined;
  const ended = new Promise<never>((_, reject) => {
    const end = (error: EspalierError) => {
      own.abort(error);
      reject(error);
    };
    if (Number.isFinite(timeoutMs)) timer = setTimeout(() => end(new EspalierError('limit', `${what} took longer than ${timeoutMs / 1000} s`, { fix: 'make it faster, or raise the time-out' })), timeoutMs);
    onAbort = () => end(new EspalierError('aborted', `${what} was aborted`, { cause: signal?.reason }));
    signal?.addEventListener('abort', onAbort, { once: true });
  });
  try {
    return await Promise.race([(async () => call(own.signal))(), ended]);
  } finally {
    clearTimeout(timer);
    if (onAbort) signal?.removeEventListener('abort', onAbort);
  }
}
