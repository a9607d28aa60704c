import { setMaxListeners } from 'node:events';

/** A signal that fires with any of others, or when `abort` is called; any number may listen to it. `unlink` lets go of the others. */
export function linkedSignal(...sources: readonly (AbortSignal | undefined)[]): { signal: AbortSignal; abort(): void; unlink(): void } {
  const controller = new AbortController();
  setMaxListeners(0, controller.signal);
  const forward = () => controller.abort();
  for (const source of sources) {
    if (source?.aborted) forward();
    else source?.addEventListener('abort', forward, { once: true });
  }
  return {
    signal: controller.signal,
    abort: forward,
    unlink: () => {
      for (const source of sources) source?.removeEventListener('abort', forward);
    },
  };
}
