import { describe, expect, it } from 'vitest';
import { EspalierError } from './index';
import { delayOf, retryAfter, TransientFailure, withRetries } from './retry';

const atOnce = { baseDelayMs: 0 };

describe('waiting', () => {
  it('doubles, with full jitter, and keeps to what was asked for', () => {
    const failure = new TransientFailure('x');
    const at = (tries: number, random: number) => delayOf(tries, failure, { baseDelayMs: 100, maxDelayMs: 1000, random: () => random });
    expect([at(0, 1), at(1, 1), at(3, 1), at(9, 1), at(3, 0.25)]).toEqual([100, 200, 800, 1000, 200]);
    expect(delayOf(5, new TransientFailure('x', 2000), { random: () => 0.4 })).toBe(2200);
  });
  it('reads Retry-After', () => {
    expect([retryAfter('2'), retryAfter(null), retryAfter(''), retryAfter('soon'), retryAfter('9999')]).toEqual([2000, null, null, null, 300_000]);
    expect(retryAfter('Thu, 01 Jan 1970 00:00:05 GMT', 2000)).toBe(3000);
    expect(retryAfter(new Date(5000).toUTCString(), 1000)).toBe(4000);
  });
});

describe('withRetries', () => {
  it('tries again what may go better, and says how often it did', async () => {
    const seen: string[] = [];
    let calls = 0;
    const attempt = async () => {
      if (++calls < 3) throw new TransientFailure(`no ${calls}`);
      return calls;
    };
    await expect(withRetries('asking', attempt, { ...atOnce, onFailure: ({ message }) => seen.push(message) })).resolves.toBe(3);
    expect(seen).toEqual(['no 1', 'no 2']);
    const never = () => Promise.reject(new TransientFailure('still not'));
    await expect(withRetries('asking', never, { ...atOnce, maxRetries: 2, fix: 'start it' })).rejects.toMatchObject({ code: 'network', message: expect.stringMatching(/asking failed 3 times, at last: still not[^]*start it/) as string });
  });
  it('does not try again what fails for good, or after an abort', async () => {
    let calls = 0;
    const refused = new EspalierError('bad_config', 'refused');
    await expect(withRetries('asking', () => (calls++, Promise.reject(refused)), atOnce)).rejects.toBe(refused);
    expect(calls).toBe(1);
    await expect(withRetries('asking', () => (calls++, Promise.reject(refused)), { ...atOnce, maxRetries: 1, isTransient: () => true })).rejects.toMatchObject({ code: 'network', cause: refused });
    expect(calls).toBe(3);
    const controller = new AbortController();
    const waiting = withRetries('asking', () => Promise.reject(new TransientFailure('busy', 60_000)), { signal: controller.signal });
    setTimeout(() => controller.abort(), 5);
    await expect(waiting).rejects.toMatchObject({ code: 'aborted' });
  });
});
