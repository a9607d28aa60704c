import { readFileSync } from 'node:fs';
import type { RewardSample } from '@espalier/spec';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { faultyRewardServer, type Fault, type FaultyRewardServer } from './test-support';
import { remoteReward, requestOf, type RemoteRewardOptions } from './remote-reward';

let server: FaultyRewardServer;
beforeEach(async () => void (server = await faultyRewardServer()));
afterEach(() => server.close());

const sample = (completion: string, group = 'g'): RewardSample => ({ prompt: 'p', completion, completionTokens: Int32Array.from([...completion], (c) => c.charCodeAt(0)), finishReason: 'stop', group, row: { answer: 4, secret: 'x' } });
const remote = (options: Partial<RemoteRewardOptions> = {}) => remoteReward({ url: server.url, baseDelayMs: 1, timeoutMs: 5_000, ...options });
const score = (options: Partial<RemoteRewardOptions> = {}, completions = ['a', 'bcd', '{}', 'parts']) => remote(options).score(completions.map((completion) => sample(completion)), { step: 3 });
const right = [1, 3, null, { total: 1, components: { a: 0.5 }, note: 'why' }];

describe('remoteReward', () => {
  it('gives what the server gives, in the order of the samples', async () => {
    expect(await score()).toEqual(right);
    expect(server.seen[0].body).toMatchObject({ version: 1, step: 3, evaluation: false, samples: [{ prompt: 'p', completion: 'a', completion_tokens: [97], finish_reason: 'stop', group: 'g', row: { answer: 4, secret: 'x' } }, {}, {}, {}] });
    expect(await remote().score([], { step: 0 })).toEqual([]);
  });

  it.each<Fault>(['drop before', 'drop inside', 'status 500', 'status 503', 'full', 'half JSON', 'html', 'redirect'])('%s: tries again', async (fault) => {
    server.plan = [fault, fault, null];
    expect(await score()).toEqual(right);
    expect(server.seen).toHaveLength(3);
  });

  it.each<Fault>(['hang', 'hang inside'])('%s: gives up waiting, and tries again', async (fault) => {
    server.plan = [fault, null];
    expect(await score({ timeoutMs: 1000 })).toEqual(right);
    expect(server.seen).toHaveLength(2);
  });

  it.each<[Fault, RegExp]>([
    ['too few', /gave 3 rewards for 4 samples \(one a sample/], ['too many', /gave 5 rewards for 4 samples/], ['NaN', /the answer holds NaN, which is no JSON/], ['infinite', /for sample 0 \(completion "a"\)/], ['text', /gave "1" for sample 0/],
    ['no rewards', /answered \{"scores":\[\]\}/], ['bad component', /gave `components` \{"a":"b"\}/], ['refuse', /\/score: it refuses: status 422: not understood/], ['unauthorised', /status 401: who are you\? \(name the environment variable/],
  ])('%s: refused at once, and told what would do', async (fault, message) => {
    server.plan = [fault];
    await expect(score()).rejects.toThrow(message);
    expect(server.seen).toHaveLength(1);
  });

  it('gives up in the end, or leaves out what failed and counts it', async () => {
    server.choose = () => 'status 503';
    await expect(score({ maxRetries: 2 })).rejects.toMatchObject({ code: 'network', message: expect.stringMatching(/asking http:\/\/127\.0\.0\.1:\d+\/score for rewards failed 3 times, at last: status 503/) as string });
    expect(server.seen).toHaveLength(3);
    const logged: [string, number][] = [];
    server.choose = ({ samples }) => (samples[0].group === 'bad' ? 'drop before' : null);
    const rewards = await remote({ maxRetries: 1, batchSize: 2, onFailure: 'null' }).score([sample('a'), sample('b', 'bad'), sample('cc'), sample('d', 'bad')], { step: 0, log: (name, value) => void logged.push([name, value]) });
    expect([rewards, logged]).toEqual([[1, null, 2, null], [['remote/failed', 2]]]);
  });

  it('keeps groups together, and so many requests at once', async () => {
    const samples = Array.from({ length: 24 }, (_, i) => sample('x'.repeat(i + 1), `g${i % 8}`));
    expect(await remote({ batchSize: 3, concurrency: 2 }).score(samples, { step: 0 })).toEqual(samples.map((_, i) => i + 1));
    expect(server.seen.map(({ body }) => new Set(body.samples.map(({ group }) => group)).size)).toEqual(new Array(8).fill(1));
    expect(server.mostAtOnce).toBe(2);
  });

  it('ends when it is aborted, between tries too', async () => {
    const controller = new AbortController();
    server.choose = () => 'hang';
    const pending = remote().score([sample('a')], { step: 0, signal: controller.signal });
    setTimeout(() => controller.abort(), 50);
    await expect(pending).rejects.toMatchObject({ code: 'aborted' });
    await expect(remote({ onFailure: 'null' }).score([sample('a')], { step: 0, signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'aborted' });
  });

  it('takes the key from the environment, sends it, and tells nobody', async () => {
    process.env['ESPALIER_TEST_KEY'] = 'hush-hush';
    try {
      server.plan = [null, 'refuse'];
      const reward = remote({ apiKeyEnv: 'ESPALIER_TEST_KEY' });
      await reward.score([sample('a')], { step: 0 });
      expect(server.seen[0].headers.authorization).toBe('Bearer hush-hush');
      const refused = await reward.score([sample('a')], { step: 0 }).then(() => '', String);
      expect(refused).toContain('Bearer ***');
      expect(refused).not.toContain('hush-hush');
    } finally {
      delete process.env['ESPALIER_TEST_KEY'];
    }
    expect(() => remote({ apiKeyEnv: 'ESPALIER_TEST_KEY' })).toThrow('the environment variable ESPALIER_TEST_KEY is not set');
  });

  it('sends the columns that are asked for', async () => {
    await remote({ columns: ['answer', 'absent'] }).score([sample('a')], { step: 0 });
    expect(server.seen[0].body.samples[0].row).toEqual({ answer: 4 });
  });

  it('refuses an address that is none, and options that make no sense', () => {
    expect(() => remote({ url: 'nowhere' })).toThrow('`url` is "nowhere"');
    expect(() => remote({ url: 'ftp://a/b' })).toThrow('begins with ftp:');
    expect(() => remote({ url: 'http://me:pw@a/b' })).toThrow('holds a name or password');
    expect(() => remote({ batchSize: 0 })).toThrow('`batchSize` is 0');
    expect(() => remote({ onFailure: 'ignore' as 'null' })).toThrow('throw or null');
  });
});

describe('openapi.json', () => {
  const document = JSON.parse(readFileSync(new URL('../../openapi.json', import.meta.url), 'utf8')) as object;
  const ajv = new Ajv2020({ strict: false }).addSchema(document, 'api');
  const valid = (schema: string, value: unknown) => ajv.validate({ $ref: `api#/components/schemas/${schema}` }, JSON.parse(JSON.stringify(value)));

  it('describes what is asked', () => {
    expect(valid('ScoreRequest', requestOf([sample('a'), { ...sample('b'), prompt: [{ role: 'user', content: 'hi' }] }], { step: 1, evaluation: true }))).toBe(true);
    expect(valid('ScoreRequest', { samples: [] })).toBe(false);
  });
  it('and what may be answered', () => {
    expect(valid('ScoreResponse', { rewards: right })).toBe(true);
    for (const rewards of [['1'], [{}], [{ total: 1, components: { a: 'b' } }]]) expect(valid('ScoreResponse', { rewards })).toBe(false);
  });
});
