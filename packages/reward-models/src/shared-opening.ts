import { EspalierError, throwIfAborted } from '@espalier/spec';

/** Something that is opened once for all callers, by whoever comes first. */
export interface SharedOpening<T> {
  /** Waits for it as long as its own signal lets. @throws EspalierError `aborted` */
  get(signal?: AbortSignal): Promise<T>;
  /** What is open or being opened; null when nothing is, or opening failed. */
  opened(): Promise<T | null>;
}

/**
 * Opens once: a caller that is aborted leaves the others waiting, and the last one that leaves stops the opening. What failed is tried again by the next caller.
 * @example
 * const engine = sharedOpening((signal) => openEngine({ model, signal }));
 */
export function sharedOpening<T>(open: (signal: AbortSignal) => Promise<T>): SharedOpening<T> {
  let current: { made: Promise<T>; waiting: number; done: boolean; stop: AbortController } | null = null;
  function begin(): NonNullable<typeof current> {
    const stop = new AbortController();
    const opening: NonNullable<typeof current> = { waiting: 0, done: false, stop, made: open(stop.signal) };
    opening.made.then(
      () => (opening.done = true),
      () => {
        if (current === opening) current = null;
      },
    );
    return opening;
  }
  return {
    async get(signal) {
      throwIfAborted(signal);
      const opening = (current ??= begin());
      opening.waiting++;
      try {
        return await untilAborted(opening.made, signal);
      } finally {
        if (--opening.waiting === 0 && !opening.done) {
          if (current === opening) current = null;
          opening.stop.abort();
        }
      }
    },
    opened: async () => current?.made.catch(() => null) ?? null,
  };
}

/** The promise, or `aborted` as soon as the signal fires. */
function untilAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => reject(new EspalierError('aborted', 'the operation was aborted', { cause: signal.reason }));
    signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
