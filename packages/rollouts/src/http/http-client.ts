import { EspalierError, throwIfAborted } from '@espalier/spec';
import { createParser } from 'eventsource-parser';
import { retryAfter, TransientFailure } from '@espalier/spec/retry';

/** What would do when a server never answers. */
export const unreachable = 'look whether the server runs and is reachable';

export interface HttpClientOptions {
  /** Such as `http://127.0.0.1:8000/v1`; `/v1` may be left out. */
  baseUrl: string;
  /** The environment variable that holds the bearer token. Default: none is sent. */
  apiKeyEnv?: string;
  /** Longest answer, from request to end. Default 600 000 ms. */
  timeoutMs?: number;
  /** Longest silence in between. Default 120 000 ms. */
  idleTimeoutMs?: number;
}

/** Answers of a megabyte a sample are possible; beyond this a server is out of its mind. */
const maxAnswerBytes = 512 * 2 ** 20;

const overloadStatuses = new Set([408, 429, 502, 503, 504, 529]);

/**
 * One OpenAI-compatible server over HTTP. Each call is one try: what may go better the next time is a {@link TransientFailure}. The key comes from the
 * environment, goes into the header and nowhere else: it is cut out of whatever the server says back.
 */
export class HttpClient {
  /** Without `/v1`. */
  readonly root: string;
  private readonly key: string | null;
  private readonly timeoutMs: number;
  private readonly idleTimeoutMs: number;

  /** @throws EspalierError `bad_config` for an address that is none, `usage` when the environment variable is not set */
  constructor(options: HttpClientOptions) {
    let url: URL;
    try {
      url = new URL(options.baseUrl);
    } catch {
      throw new EspalierError('bad_config', `\`baseUrl\` is ${JSON.stringify(options.baseUrl)}`, { fix: 'an address such as http://127.0.0.1:8000/v1' });
    }
    if (url.protocol !== 'http:' && url.protocol !== 'https:') throw new EspalierError('bad_config', `\`baseUrl\` begins with ${url.protocol}`, { fix: 'http or https' });
    if (url.username || url.password) throw new EspalierError('bad_config', '`baseUrl` holds a name or password', { fix: 'put the key into an environment variable and name that in `apiKeyEnv`' });
    this.root = `${url.origin}${url.pathname.replace(/\/+$/, '').replace(/\/v1$/, '')}`;
    this.key = options.apiKeyEnv === undefined ? null : (process.env[options.apiKeyEnv] ?? '').trim();
    if (this.key === '') throw new EspalierError('usage', `the environment variable ${options.apiKeyEnv} is not set`, { fix: `it holds the key for ${this.root}` });
    this.timeoutMs = options.timeoutMs ?? 600_000;
    this.idleTimeoutMs = options.idleTimeoutMs ?? 120_000;
  }

  /**
   * One request, one whole answer: JSON, or the JSON of each server-sent event up to `[DONE]`.
   * @throws TransientFailure; HttpRefusal when the server refuses for good; EspalierError `aborted`
   */
  async call(method: 'GET' | 'POST', path: string, body: unknown, signal?: AbortSignal): Promise<unknown[]> {
    throwIfAborted(signal);
    const controller = new AbortController();
    let why = '';
    // Node 20's fetch holds the signal weakly: after a collection of garbage an abort no longer reaches the body. So each wait is raced against this.
    let leave: (error: Error) => void;
    const left = new Promise<never>((_, reject) => (leave = reject));
    left.catch(() => undefined);
    const stop = (reason: string) => {
      why ||= reason;
      leave(new Error(reason));
      controller.abort();
    };
    const onAbort = () => stop('aborted');
    signal?.addEventListener('abort', onAbort, { once: true });
    const whole = setTimeout(() => stop(`no whole answer within ${this.timeoutMs} ms`), this.timeoutMs);
    let idle = setTimeout(() => stop(`nothing came for ${this.idleTimeoutMs} ms`), this.idleTimeoutMs);
    const alive = () => {
      clearTimeout(idle);
      idle = setTimeout(() => stop(`nothing came for ${this.idleTimeoutMs} ms`), this.idleTimeoutMs);
    };
    let reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
    try {
      const answer = fetch(this.root + path, {
        method,
        headers: { accept: 'application/json, text/event-stream', ...(body !== undefined && { 'content-type': 'application/json' }), ...(this.key !== null && { authorization: `Bearer ${this.key}` }) },
        body: body === undefined ? undefined : JSON.stringify(body),
        signal: controller.signal,
        redirect: 'error', // the key must not follow
      });
      const response = await Promise.race([answer, left]);
      alive();
      const isStream = (response.headers.get('content-type') ?? '').includes('text/event-stream');
      const events: unknown[] = [];
      let done = false;
      const parser = createParser({
        maxBufferSize: maxAnswerBytes,
        onEvent: ({ data }) => {
          if (data === '[DONE]') done = true;
          else events.push(JSON.parse(data));
        },
      });
      const decoder = new TextDecoder();
      let text = '';
      let bytes = 0;
      reader = response.body?.getReader();
      while (reader) {
        const { value: chunk, done: ended } = await Promise.race([reader.read(), left]);
        if (ended) break;
        alive();
        bytes += chunk.byteLength;
        if (bytes > maxAnswerBytes) throw new HttpRefusal(0, `the answer is larger than ${maxAnswerBytes} bytes`);
        const piece = decoder.decode(chunk, { stream: true });
        if (isStream && response.ok) parser.feed(piece);
        else text += piece;
      }
      if (!response.ok) throw this.failureOf(response, text);
      if (!isStream) return [path.startsWith('/v1/load') || path.startsWith('/v1/unload') || text === '' ? text : JSON.parse(text)];
      if (!done) throw new TransientFailure('the stream broke off');
      const failed = events.find((event) => typeof event === 'object' && event !== null && 'error' in event && event.error);
      if (failed) throw new TransientFailure(`the server failed in mid-stream: ${this.redact(JSON.stringify(failed))}`);
      return events;
    } catch (error) {
      throwIfAborted(signal);
      if (error instanceof HttpRefusal || error instanceof TransientFailure) throw error;
      if (why) throw new TransientFailure(why, null, true);
      if (error instanceof SyntaxError) throw new TransientFailure('the answer is not whole JSON');
      const cause = (error as Error).cause as { code?: string; message?: string } | undefined;
      throw new TransientFailure(this.redact(`${(error as Error).message}${cause ? `: ${cause.code ?? cause.message}` : ''}`));
    } finally {
      clearTimeout(whole);
      clearTimeout(idle);
      signal?.removeEventListener('abort', onAbort);
      controller.abort(); // what is left of the body
      reader?.cancel().catch(() => undefined);
    }
  }

  private failureOf(response: Response, text: string): Error {
    const { status } = response;
    let said = text;
    try {
      const json = JSON.parse(text) as { error?: { message?: unknown } | string; message?: unknown; detail?: unknown };
      const error = typeof json.error === 'object' ? json.error?.message : json.error;
      said = String(error ?? json.message ?? (typeof json.detail === 'string' ? json.detail : JSON.stringify(json.detail ?? json)));
    } catch {
      // said as it came
    }
    const message = `status ${status}${said ? `: ${this.redact(said).slice(0, 300)}` : ''}`;
    if (status >= 500 || overloadStatuses.has(status)) return new TransientFailure(message, retryAfter(response.headers.get('retry-after')), overloadStatuses.has(status));
    return new HttpRefusal(status, message);
  }

  private redact(text: string): string {
    return this.key ? text.replaceAll(this.key, '***') : text;
  }
}

/** The server understood, and refuses: trying again would not help. */
export class HttpRefusal extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}
