import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Engine } from '@espalier/engine';
import { createServer } from './create-server';
import { serve, type RunningServer } from './serve';
import { serveTiny, tinyEngine, until } from './testing';

let engine: Engine;
let server: RunningServer;

beforeAll(async () => {
  engine = await tinyEngine({ maxBatchSize: 4 });
  server = await serveTiny(engine, { limits: { maxQueue: 6, maxBodyBytes: 20_000, maxTokens: 80, maxSamplesPerRequest: 5 } });
}, 60_000);

afterAll(async () => {
  await server.close();
  await engine.close();
});

const json = { 'content-type': 'application/json' };
const post = (path: string, body: unknown, headers: Record<string, string> = json) => fetch(server.url + path, { method: 'POST', headers, body: typeof body === 'string' || Buffer.isBuffer(body) ? (body as string) : JSON.stringify(body) });
const error = async (response: Response) => ((await response.json()) as { error: { message: string; type: string; param: string | null; code: string | null } }).error;
const ask = { model: 'tiny', prompt: [5, 6, 7], max_tokens: 4, seed: 1, ignore_eos: true };
const long = { ...ask, max_tokens: 80 };

describe('bad requests', () => {
  it.each<[string, unknown, string | null]>([
    ['no JSON', '{"model": "tiny", "prom', null],
    ['a list', '[1]', null],
    ['text that is not UTF-8', Buffer.from([0x7b, 0xff, 0x7d]), null],
    ['no prompt', { model: 'tiny' }, 'prompt'],
    ['an empty prompt', { ...ask, prompt: [] }, 'prompt'],
    ['an empty text', { ...ask, prompt: '', add_special_tokens: false }, 'prompt'],
    ['a list with an empty prompt', { ...ask, prompt: [[3], []] }, 'prompt'],
    ['half a token', { ...ask, prompt: [1.5] }, 'prompt.0'],
    ['a negative token', { ...ask, prompt: [[4, -1]] }, 'prompt.0.1'],
    ['a token outside the vocabulary', { ...ask, prompt: [280] }, 'prompt'],
    ['a token beyond 32 bits', { ...ask, prompt: [2 ** 32 + 5] }, 'prompt'],
    ['texts and tokens mixed', { ...ask, prompt: ['a', 5] }, 'prompt.1'],
    ['a prompt that is too long', { ...ask, prompt: Array.from({ length: 96 }, () => 5) }, 'prompt'],
    ['a text that is much too long', { ...ask, prompt: 'a'.repeat(10_000) }, 'prompt'],
    ['no room for what is asked', { ...ask, prompt: Array.from({ length: 50 }, () => 5), max_tokens: 60 }, 'max_tokens'],
    ['more tokens than the server allows', { ...ask, max_tokens: 81 }, 'max_tokens'],
    ['more samples than the server allows', { ...ask, n: 6 }, 'n'],
    ['no sample', { ...ask, n: 0 }, 'n'],
    ['a negative temperature', { ...ask, temperature: -0.1 }, 'temperature'],
    ['a temperature that is nearly 0', { ...ask, temperature: 1e-9 }, 'temperature'],
    ['a text as a number', { ...ask, top_p: '0.5' }, 'top_p'],
    ['top_p 0', { ...ask, top_p: 0 }, 'top_p'],
    ['a negative seed', { ...ask, seed: -1 }, 'seed'],
    ['min_tokens above max_tokens', { ...ask, min_tokens: 5 }, 'min_tokens'],
    ['a bias', { ...ask, logit_bias: { 5: 1 } }, 'logit_bias.5'],
    ['best_of', { ...ask, best_of: 3 }, 'best_of'],
    ['a streamed echo', { ...ask, echo: true, stream: true }, 'stream'],
    ['a field that is not known', { ...ask, max_new_tokens: 4 }, 'max_new_tokens'],
  ])('%s is 400', async (_, body, param) => {
    const response = await post('/v1/completions', body);
    expect(response.status).toBe(400);
    expect(await error(response)).toMatchObject({ type: 'invalid_request_error', param });
  });

  it('fields that are null are absent', async () => {
    expect((await post('/v1/completions', { ...ask, temperature: null, logit_bias: {}, user: 'me', frequency_penalty: 0 })).status).toBe(200);
  });

  it('a body that is not JSON by its type is 415, one too large 413, sent in pieces too', async () => {
    expect((await post('/v1/completions', ask, { 'content-type': 'text/plain' })).status).toBe(415);
    const large = JSON.stringify({ ...ask, user: 'x'.repeat(20_000) });
    const response = await post('/v1/completions', large);
    expect(response.status).toBe(413);
    expect(await error(response)).toMatchObject({ code: 'body_too_large' });
    const pieces = new ReadableStream({
      start(controller) {
        for (let i = 0; i < large.length; i += 5000) controller.enqueue(new TextEncoder().encode(large.slice(i, i + 5000)));
        controller.close();
      },
    });
    expect((await fetch(`${server.url}/v1/completions`, { method: 'POST', headers: json, body: pieces, duplex: 'half' } as RequestInit)).status).toBe(413);
  });

  it('an unknown model or path is 404, a wrong method 405', async () => {
    expect((await post('/v1/completions', { ...ask, model: 'tiny:other' })).status).toBe(404);
    expect(await error(await post('/v1/nothing', ask))).toMatchObject({ type: 'not_found_error' });
    const response = await fetch(`${server.url}/v1/completions`);
    expect([response.status, response.headers.get('allow')]).toEqual([405, 'POST']);
    expect((await post('/v1/load_lora_adapter', { lora_name: 'a', lora_path: '/' })).status).toBe(404); // nobody allowed it
  });

  it('a failure of the engine is 500, without its details, and is logged', async () => {
    const broken = { ...engine, generate: () => { throw new Error('secret path'); } } as unknown as Engine; // prettier-ignore
    const seen: unknown[] = [];
    const alone = createServer({ models: [{ id: 'tiny', engine: broken }], onError: (failure) => seen.push(failure) });
    const request = (body: object) => alone.fetch(new Request('http://localhost/v1/completions', { method: 'POST', headers: json, body: JSON.stringify(body) }));
    const response = await request(ask);
    expect(response.status).toBe(500);
    expect(JSON.stringify(await response.json())).not.toContain('secret');
    const stream = await (await request({ ...ask, stream: true })).text();
    expect(stream).toContain('"server_error"');
    expect(stream).not.toContain('secret');
    expect(seen).toHaveLength(2);
    expect(alone.inFlight).toBe(0);
  });
});

describe('a full server', () => {
  it('answers 429 with Retry-After, and takes requests again when there is room', async () => {
    const running = [post('/v1/completions', { ...long, n: 5 }), post('/v1/completions', long)];
    await until(() => server.inFlight === 6);
    const refused = await post('/v1/completions', ask);
    expect(refused.status).toBe(429);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    expect(await error(refused)).toMatchObject({ type: 'rate_limit_error', code: 'queue_full' });
    expect((await Promise.all(running)).map(({ status }) => status)).toEqual([200, 200]);
    expect((await post('/v1/completions', ask)).status).toBe(200);
  });

  it('lets requests join the batch that runs: a short one ends before a long one that began earlier', async () => {
    const order: string[] = [];
    const first = post('/v1/completions', { ...long, n: 2 }).then(() => order.push('long'));
    await until(() => server.inFlight === 2);
    const second = post('/v1/completions', { ...ask, max_tokens: 2 }).then(() => order.push('short'));
    await Promise.all([first, second]);
    expect(order).toEqual(['short', 'long']);
  });
});

function rawRequest(url: string, body: object): Socket {
  const { hostname, port } = new URL(url);
  const text = JSON.stringify(body);
  const socket = connect(Number(port), hostname);
  socket.write(`POST /v1/completions HTTP/1.1\r\nhost: ${hostname}:${port}\r\ncontent-type: application/json\r\ncontent-length: ${text.length}\r\n\r\n${text}`);
  return socket;
}

describe('clients that leave', () => {
  it.each([true, false])('free their slots at once (stream: %s)', async (stream) => {
    const socket = rawRequest(server.url, { ...long, n: 5, stream });
    await until(() => server.inFlight === 5);
    if (stream) await new Promise((resolve) => socket.once('data', resolve));
    socket.destroy();
    await until(() => server.inFlight === 0);
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    expect(metrics).toMatch(/aborted_requests_total\{reason="disconnect"\} [12]$/m);
    expect((await post('/v1/completions', ask)).status).toBe(200);
  });

  it('and readers that take nothing are cut off', async () => {
    const alone = createServer({ models: [{ id: 'tiny', engine }], limits: { stallTimeoutMs: 50 } });
    const response = await alone.fetch(new Request('http://localhost/v1/completions', { method: 'POST', headers: json, body: JSON.stringify({ ...long, n: 2, stream: true }) }));
    const reader = response.body!.getReader();
    await reader.read();
    await until(() => alone.inFlight === 0);
    await expect((async () => { for (;;) if ((await reader.read()).done) return; })()).rejects.toThrow(/takes nothing/); // prettier-ignore
    const metrics = await (await alone.fetch(new Request('http://localhost/metrics'))).text();
    expect(metrics).toMatch(/aborted_requests_total\{reason="stall"\} 1$/m);
  });

  it('what a slow reader missed comes in one piece', async () => {
    const alone = createServer({ models: [{ id: 'tiny', engine }] });
    const request = (stream: boolean) => alone.fetch(new Request('http://localhost/v1/completions', { method: 'POST', headers: json, body: JSON.stringify({ ...long, stream, return_token_ids: true }) }));
    const whole = (await (await request(false)).json()) as { choices: { token_ids: number[]; text: string }[] };
    const response = await request(true);
    const probe = await request(false); // by its end the stream's sample has ended too
    await probe.json();
    const pieces = (await response.text()).split('\n\n').filter((line) => line.startsWith('data: {')).map((line) => (JSON.parse(line.slice(6)) as typeof whole).choices[0]); // prettier-ignore
    expect(pieces.length).toBeLessThan(5);
    expect(pieces.flatMap(({ token_ids: ids }) => ids)).toEqual(whole.choices[0].token_ids);
    expect(pieces.map(({ text }) => text).join('')).toBe(whole.choices[0].text);
  });
});

describe('who may ask', () => {
  const key = 'a-key-of-the-test';

  it('needs a token where the server listens to others', async () => {
    await expect(serve({ models: [{ id: 'tiny', engine }], host: '0.0.0.0', port: 0 })).rejects.toMatchObject({ code: 'usage', message: expect.stringContaining('ESPALIER_API_KEY') });
    const guarded = await serveTiny(engine, { host: '0.0.0.0', apiKey: key });
    const get = (headers: Record<string, string>, path = '/v1/models') => fetch(`http://127.0.0.1:${guarded.port}${path}`, { headers });
    try {
      const [none, wrong, prefix, right] = await Promise.all([get({}), get({ authorization: 'Bearer nonsense' }), get({ authorization: `Bearer ${key.slice(0, -1)}` }), get({ authorization: `Bearer ${key}` })]);
      expect([none.status, wrong.status, prefix.status, right.status]).toEqual([401, 401, 401, 200]);
      expect(none.headers.get('www-authenticate')).toBe('Bearer');
      expect(await error(wrong)).toMatchObject({ code: 'invalid_api_key' });
      expect((await get({}, '/metrics')).status).toBe(401);
      expect((await get({}, '/health')).status).toBe(200);
    } finally {
      await guarded.close();
    }
  });

  it('answers to the names of this machine alone where it needs none', async () => {
    const socket = connect(server.port, '127.0.0.1');
    socket.write('GET /v1/models HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n');
    let answer = '';
    for await (const chunk of socket) answer += String(chunk);
    expect(answer).toMatch(/^HTTP\/1.1 403 /);
    expect((await fetch(`http://localhost:${server.port}/v1/models`).catch(() => fetch(`${server.url}/v1/models`))).status).toBe(200);
  });
});

describe('the end', () => {
  it('drains: what runs ends, new requests get 503, then it is closed', async () => {
    const controller = new AbortController();
    const own = await serveTiny(engine, { signal: controller.signal });
    const ask2 = (body: object) => fetch(`${own.url}/v1/completions`, { method: 'POST', headers: json, body: JSON.stringify(body) });
    const running = ask2(long);
    const streaming = ask2({ ...long, stream: true });
    await until(() => own.inFlight === 2);
    controller.abort();
    const refused = await ask2(ask);
    expect(refused.status).toBe(503);
    expect((await fetch(`${own.url}/health`)).status).toBe(503);
    const whole = (await (await running).json()) as { usage: { completion_tokens: number } };
    expect(whole.usage.completion_tokens).toBe(80);
    expect(await (await streaming).text()).toMatch(/\[DONE\]\n\n$/);
    await own.closed;
    await expect(ask2(ask)).rejects.toThrow();
  });

  it('stops at once when it is closed: what runs ends as an error', async () => {
    const own = await serveTiny(engine);
    const running = fetch(`${own.url}/v1/completions`, { method: 'POST', headers: json, body: JSON.stringify({ ...long, n: 4 }) });
    const outcome = running.then(({ status }) => status, () => 'cut off'); // prettier-ignore
    await until(() => own.inFlight === 4);
    await own.close();
    expect([499, 'cut off']).toContain(await outcome);
  });

  it('names a port that is taken', async () => {
    await expect(serve({ models: [{ id: 'tiny', engine }], port: server.port })).rejects.toMatchObject({ code: 'io', message: expect.stringContaining('taken') });
  });

  it('refuses models that cannot be told apart, and limits that are none', async () => {
    const two = [{ id: 'tiny', engine }, { id: 'tiny', engine }]; // prettier-ignore
    expect(() => createServer({ models: two })).toThrowError(expect.objectContaining({ code: 'bad_config' }));
    expect(() => createServer({ models: [] })).toThrowError(expect.objectContaining({ code: 'bad_config' }));
    expect(() => createServer({ models: [two[0]], limits: { maxQueue: 0 } })).toThrowError(/maxQueue/);
    await expect(serveTiny(engine, { models: [{ id: 'a b', engine }] })).rejects.toMatchObject({ code: 'bad_config' });
  });
});
