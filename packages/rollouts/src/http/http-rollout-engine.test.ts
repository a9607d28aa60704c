import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, describe, expect, it } from 'vitest';
import type { Completion, GenerateRequest } from '@espalier/spec';
import { AdaptiveLimit } from './adaptive-limit';
import { faults, faultyServer, logpOf, tokenOf, type FaultyServer, type FaultyServerOptions } from './faulty-server';
import { httpRolloutEngine, type HttpRolloutEngine, type HttpRolloutEngineOptions } from './http-rollout-engine';
import { httpTextModel } from './http-text-model';

const open: { close(): Promise<void> }[] = [];

afterEach(async () => {
  for (const each of open.splice(0).reverse()) await each.close();
});

async function setUp(serverOptions: FaultyServerOptions = {}, options: Partial<HttpRolloutEngineOptions> = {}): Promise<{ server: FaultyServer; engine: HttpRolloutEngine }> {
  const server = await faultyServer(serverOptions);
  open.push(server);
  const engine = await httpRolloutEngine({ baseUrl: server.url, model: 'fake', baseDelayMs: 1, idleTimeoutMs: 400, ...options });
  open.push(engine);
  server.requests = 0;
  return { server, engine };
}

const request = (i: number, more: Partial<GenerateRequest> = {}): GenerateRequest => ({ id: `r${i}`, prompt: Int32Array.of(5, 6, 7), seed: i, n: 3, sampling: { maxNewTokens: 6 }, ...more });

async function run(engine: HttpRolloutEngine, requests: readonly GenerateRequest[], signal?: AbortSignal): Promise<Completion[]> {
  const all: Completion[] = [];
  for await (const completion of engine.generate(requests, { signal })) all.push(completion);
  return all;
}

/** Every sample that was asked for, once, and as the server's model says it. */
function expectWhole(completions: readonly Completion[], requests: readonly GenerateRequest[]): void {
  const names = completions.map(({ requestId, index }) => `${requestId}/${index}`).sort();
  expect(names).toEqual(requests.flatMap(({ id, n = 1 }) => Array.from({ length: n }, (_, k) => `${id}/${k}`)).sort());
  for (const { requestId, index, tokens, logps } of completions) {
    const { seed, sampling } = requests.find(({ id }) => id === requestId)!;
    const expected = Array.from({ length: sampling!.maxNewTokens! }, (_, t) => tokenOf(seed, index, t));
    expect([...tokens]).toEqual(expected);
    expect([...logps!]).toEqual(expected.map(logpOf));
  }
}

describe('a faulty server', () => {
  it.each([true, false].flatMap((stream) => faults.map((fault) => [fault, stream] as const)))('that fails once by "%s" (stream: %s) loses nothing, and nothing counts twice', async (fault, stream) => {
    const { server, engine } = await setUp(stream ? {} : { refuses: ['stream'] }, { idleTimeoutMs: fault.startsWith('hang') ? 400 : 60_000 });
    expect(engine.capabilities.streaming).toBe(stream);
    server.plan = [fault];
    const requests = [request(1), request(2)];
    expectWhole(await run(engine, requests), requests);
    if (fault.startsWith('hang')) expect(server.requests).toBeGreaterThanOrEqual(3); // a machine under load hangs too
    else expect(server.requests).toBe(3);
  });

  it('that hangs inside an answer is left, though garbage is collected meanwhile: fetch of Node 20 then forgets the signal that it was given', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const { server, engine } = await setUp();
    server.plan = ['hang inside', 'hang', 'hang inside'];
    const timer = setInterval(collect, 20);
    const requests = [request(1), request(2)];
    try {
      expectWhole(await run(engine, requests), requests);
    } finally {
      clearInterval(timer);
    }
  });

  it('that fails at half of its requests in every way loses nothing, and nothing counts twice', async () => {
    const { server, engine } = await setUp({}, { maxRetries: 40, maxDelayMs: 5 });
    let count = 0;
    server.choose = () => (count++ % 2 === 0 ? faults[(count >> 1) % faults.length] : null);
    const requests = Array.from({ length: 60 }, (_, i) => request(i));
    expectWhole(await run(engine, requests), requests);
  });

  it('that always fails ends the call with what it said, and without the key', async () => {
    process.env['ESPALIER_TEST_HTTP_KEY'] = 'sk-very-secret';
    const failures: string[] = [];
    const { server, engine } = await setUp({}, { apiKeyEnv: 'ESPALIER_TEST_HTTP_KEY', maxRetries: 2, onRetry: ({ message }) => failures.push(message) });
    delete process.env['ESPALIER_TEST_HTTP_KEY'];
    server.choose = () => 'status 500';
    const error: unknown = await run(engine, [request(1)]).catch((failure: unknown) => failure);
    expect(error).toMatchObject({ code: 'network', message: expect.stringMatching(/failed 3 times.*status 500: it failed/) });
    expect(server.seen.at(-1)!.headers.authorization).toBe('Bearer sk-very-secret');
    expect(`${String(error)} ${failures.join()} ${JSON.stringify(engine)}`).not.toContain('very-secret');
    expect(failures).toHaveLength(3);
  });

  it('that hangs is left when the signal fires: what was asked for comes back as aborted', async () => {
    const { server, engine } = await setUp({}, { idleTimeoutMs: 60_000 });
    server.choose = ({ seed }) => (seed === 1 ? 'hang' : null);
    const controller = new AbortController();
    const requests = [request(1), request(2)];
    const all: Completion[] = [];
    for await (const completion of engine.generate(requests, { signal: controller.signal })) {
      all.push(completion);
      if (all.length === 3) controller.abort();
    }
    expect(all.map(({ requestId, finishReason }) => `${requestId} ${finishReason}`)).toEqual([...Array<string>(3).fill('r2 length'), ...Array<string>(3).fill('r1 aborted')]);
  });

  it('scores again what broke off', async () => {
    const { server, engine } = await setUp();
    server.plan = ['half JSON', 'drop inside', 'no choices'];
    const [first, second] = await engine.score!([Int32Array.of(5, 6, 7), Int32Array.of(9, 8)]);
    expect([...first]).toEqual([NaN, logpOf(6), logpOf(7)]);
    expect([...second]).toEqual([NaN, logpOf(8)]);
  });

  it('refuses what cannot be sent, at once', async () => {
    const { server, engine } = await setUp({ refuses: ['min_p'] });
    await expect(run(engine, [request(1, { sampling: { topK: 5 } })])).rejects.toMatchObject({ code: 'unsupported', message: expect.stringContaining('top_k') });
    expect(server.requests).toBe(0);
    await engine.close();
    await expect(run(engine, [request(1)])).rejects.toMatchObject({ code: 'closed' });
  });
});

describe('capabilities', () => {
  it('are those of the server', async () => {
    const { engine } = await setUp();
    expect(engine.capabilities).toMatchObject({ tokenIds: true, logps: true, promptIds: true, logpsAt: 'raw', scoring: 'prompt_logprobs', multiple: true, streaming: true, extended: true, sync: 'none', server: 'fake' });
    expect(() => engine.requireTraining()).not.toThrow();
    expect(() => engine.requireTraining({ temperature: 0.7 })).toThrowError(expect.objectContaining({ code: 'unsupported', message: expect.stringContaining('processed_logprobs') }));
    const [warm] = await run(engine, [request(1, { n: 1, sampling: { maxNewTokens: 3, temperature: 0.7 } })]);
    expect(warm.logps).toBeNull(); // rather none than those of another temperature
  });

  it('missing ones are named when training is asked for; without it the server serves', async () => {
    const tokenizer = { encode: (text: string) => Int32Array.from([...text].map((c) => c.charCodeAt(0))), decode: (tokens: Iterable<number>) => String.fromCharCode(...tokens) };
    const poor: FaultyServerOptions = { textOnly: true, refuses: ['return_token_ids', 'logprobs', 'top_k', 'n', 'stream', 'echo'] };
    await expect(setUp(poor, { tokenizer, training: true })).rejects.toMatchObject({ code: 'unsupported', message: expect.stringMatching(/token ids; .*ids of the tokens.*; .*log-probs/) });
    await expect(setUp(poor)).rejects.toMatchObject({ code: 'unsupported', message: expect.stringContaining('tokenizer') });
    const { server, engine } = await setUp(poor, { tokenizer });
    expect(engine.capabilities).toMatchObject({ tokenIds: false, logps: false, multiple: false, streaming: false, extended: false, scoring: 'none' });
    expect(engine.score).toBeUndefined();
    const all = await run(engine, [request(1, { prompt: Int32Array.of(72, 105) })]);
    expect(all.map(({ index }) => index)).toEqual([0, 1, 2]);
    expect(all.every(({ logps }) => logps === null)).toBe(true);
    expect(new Set(all.map(({ text }) => text)).size).toBe(3); // a seed each
    expect(server.seen.at(-1)!.body).toMatchObject({ prompt: 'Hi' });
    await expect(engine.sync!({ kind: 'adapter', uri: '/x', version: 1, digest: 'abc' })).rejects.toMatchObject({ code: 'unsupported', message: expect.stringContaining('does not load adapters') });
  });

  it.each<[string, Partial<HttpRolloutEngineOptions>, string]>([
    ['an address that is none', { baseUrl: 'localhost' }, 'bad_config'],
    ['another protocol', { baseUrl: 'ftp://localhost/' }, 'bad_config'],
    ['a password in the address', { baseUrl: 'http://me:secret@localhost/' }, 'bad_config'],
    ['a key that is not set', { apiKeyEnv: 'ESPALIER_NOT_SET_ANYWHERE' }, 'usage'],
    ['a server that is not there', { baseUrl: 'http://127.0.0.1:9', maxRetries: 1 }, 'network'],
  ])('%s is refused', async (_, options, code) => {
    const error: unknown = await httpRolloutEngine({ baseUrl: 'http://127.0.0.1:9', model: 'x', baseDelayMs: 1, ...options }).catch((failure: unknown) => failure);
    expect(error).toMatchObject({ code });
    expect(String(error)).not.toContain('secret');
  });
});

describe('AdaptiveLimit', () => {
  /** A server that serves up to `capacity` requests at once at full speed; each takes a tick more for every one above. */
  async function settle(capacity: number): Promise<number[]> {
    let now = 0;
    const limit = new AdaptiveLimit({ initial: 2, max: 64, now: () => now });
    const limits: number[] = [];
    const waiting: (() => void)[] = [];
    const jobs = Array.from({ length: 3000 }, () =>
      limit.run(async () => {
        await new Promise<void>((resolve) => waiting.push(resolve));
        return { value: null, tokens: 10 };
      }),
    );
    let left = jobs.length;
    for (const job of jobs) void job.then(() => left--);
    while (left > 0) {
      await new Promise((resolve) => setImmediate(resolve));
      const batch = waiting.splice(0);
      if (batch.length === 0) continue;
      now += 10 * Math.max(1, (batch.length / capacity) ** 1.3); // beyond its capacity it gets slower than it gets work
      for (const resolve of batch) resolve();
      limits.push(limit.limit);
    }
    return limits;
  }

  it('rises while that brings more, and stays near what the server can do', async () => {
    const limits = await settle(16);
    const late = limits.slice(limits.length / 2);
    expect(Math.min(...late)).toBeGreaterThanOrEqual(8);
    expect(Math.max(...late)).toBeLessThanOrEqual(48);
  });

  it('lets no more run than it says, and halves once when the server is overloaded', async () => {
    let now = 0;
    const limit = new AdaptiveLimit({ initial: 8, now: () => now });
    let running = 0;
    let most = 0;
    await Promise.all(
      Array.from({ length: 12 }, () =>
        limit.run(async () => {
          most = Math.max(most, ++running);
          await new Promise((resolve) => setTimeout(resolve, 2));
          running--;
          return { value: 0, tokens: 1 };
        }),
      ),
    );
    expect(most).toBe(8);
    limit.overloaded();
    limit.overloaded();
    expect(limit.limit).toBe(4);
    now += 2000;
    limit.overloaded();
    expect(limit.limit).toBe(2);
  });

  it('lets a request go that is aborted while it waits', async () => {
    const limit = new AdaptiveLimit({ initial: 1, max: 1 });
    const controller = new AbortController();
    let finish = () => {};
    const first = limit.run(() => new Promise<{ value: number; tokens: number }>((resolve) => (finish = () => resolve({ value: 1, tokens: 1 }))));
    const second = limit.run(async () => ({ value: 2, tokens: 1 }), controller.signal);
    const third = limit.run(async () => ({ value: 3, tokens: 1 }));
    controller.abort();
    await expect(second).rejects.toMatchObject({ code: 'aborted' });
    finish();
    expect(await Promise.all([first, third])).toEqual([1, 3]);
  });
});

describe('httpTextModel', () => {
  it('refuses what the server refuses', async () => {
    const server = await faultyServer();
    open.push(server);
    await expect(httpTextModel({ baseUrl: server.url, model: 'fake', baseDelayMs: 1 }).complete(['x'])).rejects.toMatchObject({ code: 'not_found' });
  });
});
