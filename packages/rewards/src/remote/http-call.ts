import { EspalierError, throwIfAborted } from '@espalier/spec';
import { retryAfter, TransientFailure } from '@espalier/spec/retry';

/** Beyond this an answer is no list of rewards. */
const maxAnswerBytes = 256 * 2 ** 20;

const overload = new Set([408, 425, 429]);

/**
 * One POST of JSON, one whole answer of JSON. The key goes into the header and nowhere else: it is cut out of whatever comes back.
 * @throws TransientFailure for what may go better the next time (no connection, silence, half an answer, 5xx, 429); EspalierError `bad_config` when the server
 * refuses for good, `bad_data` for an answer that is whole and no JSON, `aborted`
 */
export async function postJson(url: string, body: unknown, options: { key: string | null; timeoutMs: number; signal?: AbortSignal | undefined }): Promise<unknown> {
  const { key, timeoutMs, signal } = options;
  throwIfAborted(signal);
  const redact = (text: string) => (key ? text.replaceAll(key, '***') : text);
  const controller = new AbortController();
  // Node 20's fetch holds the signal weakly: after a collection of garbage an abort no longer reaches the body. So each wait is raced against this.
  let leave: (error: Error) => void;
  const left = new Promise<never>((_, reject) => (leave = reject));
  left.catch(() => undefined);
  let why = '';
  const stop = (reason: string) => {
    why ||= reason;
    leave(new Error(reason));
    controller.abort();
  };
  const onAbort = () => stop('aborted');
  signal?.addEventListener('abort', onAbort, { once: true });
  const timer = setTimeout(() => stop(`no whole answer within ${timeoutMs} ms`), timeoutMs);
  let reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  try {
    const response = await Promise.race([
      fetch(url, {
        method: 'POST',
        headers: { accept: 'application/json', 'content-type': 'application/json', ...(key === null ? {} : { authorization: `Bearer ${key}` }) },
        body: JSON.stringify(body),
        signal: controller.signal,
        redirect: 'error', // the key must not follow
      }),
      left,
    ]);
    const decoder = new TextDecoder();
    let text = '';
    let bytes = 0;
    reader = response.body?.getReader();
    while (reader) {
      const { value, done } = await Promise.race([reader.read(), left]);
      if (done) break;
      bytes += value.byteLength;
      if (bytes > maxAnswerBytes) throw new EspalierError('bad_data', `the answer is larger than ${maxAnswerBytes} bytes`);
      text += decoder.decode(value, { stream: true });
    }
    if (!response.ok) {
      const { status } = response;
      const said = `status ${status}${text.trim() === '' ? '' : `: ${redact(text.trim()).slice(0, 300)}`}`;
      if (status >= 500 || overload.has(status)) throw new TransientFailure(said, retryAfter(response.headers.get('retry-after')));
      throw new EspalierError('bad_config', `it refuses: ${said}`, { fix: status === 401 || status === 403 ? 'name the environment variable that holds a valid key in `apiKeyEnv`' : 'see openapi.json of @espalier/rewards for what is asked' });
    }
    return parse(text, redact);
  } catch (error) {
    throwIfAborted(signal);
    if (error instanceof EspalierError || error instanceof TransientFailure) throw error;
    if (why) throw new TransientFailure(why);
    const cause = (error as Error).cause as { code?: string; message?: string } | undefined;
    throw new TransientFailure(redact(`${(error as Error).message}${cause ? `: ${cause.code ?? cause.message}` : ''}`));
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
    controller.abort(); // what is left of the body
    reader?.cancel().catch(() => undefined);
  }
}

function parse(text: string, redact: (text: string) => string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Python's json.dumps writes NaN and Infinity, which JSON has not: to ask again would give the same.
    const constant = /[[,:]\s*(NaN|-?Infinity)\s*[,\]}]/.exec(text)?.[1];
    if (constant) throw new EspalierError('bad_data', `the answer holds ${constant}, which is no JSON`, { fix: 'null where a reward does not apply' });
    throw new TransientFailure(`the answer is not whole JSON: ${redact(text.slice(0, 80))}`);
  }
}
