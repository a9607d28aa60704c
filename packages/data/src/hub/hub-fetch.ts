import type { HubSettings } from './settings';
import type { HubOptions } from './snapshot';

/** Milliseconds without a byte after which a body is given up. */
const idleTimeout = 60_000;
/** Slowest upload that is waited for, in bytes a millisecond: 32 KB a second. */
const slowestUpload = 32;

function bodySize(body: unknown): number {
  return typeof body === 'string' ? body.length : body instanceof Blob ? body.size : ArrayBuffer.isView(body) ? body.byteLength : 0;
}

/**
 * `fetch` with the token (sent to the endpoint alone), the caller's signal, a limit on the wait for an answer (longer for what sends much), and one on silence
 * inside an answer.
 */
export function hubFetch(settings: HubSettings, options: HubOptions): typeof fetch {
  return async (input, init) => {
    const url = new URL(input instanceof Request ? input.url : String(input));
    const headers = new Headers(init?.headers);
    if (settings.token && url.origin === new URL(settings.endpoint).origin) headers.set('Authorization', `Bearer ${settings.token}`);
    const wait = new Interruptible([options.signal, init?.signal ?? undefined]);
    try {
      const limit = (options.timeout ?? 15_000) + bodySize(init?.body) / slowestUpload;
      const response = await wait.for(fetch(input, { ...init, headers, signal: wait.signal }), limit, `no answer in ${Math.round(limit)} ms`);
      if (response.body === null) wait.done();
      return response.body === null ? response : withBody(response, wait.body(response.body, options.idleTimeout ?? idleTimeout));
    } catch (error) {
      wait.done();
      throw error;
    }
  };
}

/**
 * Waits that end when one of several signals fires. Node 20's `fetch` and `AbortSignal.any` hold signals weakly: after a collection of garbage an abort no longer
 * reaches what was begun with them. So each wait is raced against a promise of our own.
 */
class Interruptible {
  private readonly controller = new AbortController();
  private leave!: (error: unknown) => void;
  private readonly left = new Promise<never>((_, reject) => (this.leave = reject));
  private readonly listeners: { signal: AbortSignal; listener: () => void }[] = [];

  constructor(signals: readonly (AbortSignal | undefined)[]) {
    this.left.catch(() => undefined);
    for (const signal of signals) {
      if (!signal) continue;
      const listener = () => this.stop(signal.reason);
      if (signal.aborted) listener();
      else signal.addEventListener('abort', listener);
      this.listeners.push({ signal, listener });
    }
  }

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  private stop(reason: unknown): void {
    this.leave(reason);
    this.controller.abort(reason);
  }

  async for<T>(promise: Promise<T>, limit: number, complaint: string): Promise<T> {
    const timer = setTimeout(() => this.stop(new Error(complaint)), limit);
    try {
      return await Promise.race([promise, this.left]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** The same bytes, each read of which is such a wait. */
  body(source: ReadableStream<Uint8Array>, idle: number): ReadableStream<Uint8Array> {
    const reader = source.getReader();
    const end = (): void => {
      this.done();
      reader.cancel().catch(() => undefined);
    };
    return new ReadableStream<Uint8Array>({
      pull: async (sink) => {
        try {
          const { value, done } = await this.for(reader.read(), idle, `nothing came for ${idle} ms`);
          if (!done) return sink.enqueue(value);
          this.done();
          sink.close();
        } catch (error) {
          end();
          throw error;
        }
      },
      cancel: end,
    });
  }

  done(): void {
    for (const { signal, listener } of this.listeners) signal.removeEventListener('abort', listener);
  }
}

function withBody(response: Response, body: ReadableStream<Uint8Array>): Response {
  const copy = new Response(body, { status: response.status, statusText: response.statusText, headers: response.headers });
  for (const [name, value] of Object.entries({ url: response.url, redirected: response.redirected })) Object.defineProperty(copy, name, { value });
  return copy;
}
