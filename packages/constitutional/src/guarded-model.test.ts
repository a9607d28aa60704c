import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cachedModel } from './cached-model';
import { limitedModel } from './limited-model';
import { loggedModel } from './logged-model';
import { scripted } from './test-support';

let dir: string;
beforeAll(async () => void (dir = await mkdtemp(join(tmpdir(), 'espalier-judge-'))));
afterAll(() => rm(dir, { recursive: true, force: true }));
const model = () => scripted({ answer: (prompt, seed) => `${prompt}/${seed}`, logps: (prompt) => (prompt === 'odd' ? [-Infinity, NaN] : [-1, -prompt.length]) });

describe('cachedModel', () => {
  it('puts a question once, over processes, and never gives one model another one’s answer', async () => {
    const inner = model();
    const first = cachedModel(inner, { dir: join(dir, 'a'), id: 'm1' });
    const options = { temperature: 1, seeds: [4, 5, 4] };
    expect(await first.complete(['x', 'y', 'x'], options)).toEqual(['x/4', 'y/5', 'x/4']);
    expect(inner.prompts).toEqual(['x', 'y']);
    const again = cachedModel(inner, { dir: join(dir, 'a'), id: 'm1' });
    expect(await again.complete(['y', 'z'], { temperature: 1, seeds: [5, 6] })).toEqual(['y/5', 'z/6']);
    expect(inner.calls.at(-1)).toMatchObject({ prompts: ['z'], options: { seeds: [6] } });
    expect(again.stats).toEqual({ hits: 1, misses: 1 });
    await cachedModel(inner, { dir: join(dir, 'a'), id: 'm2' }).complete(['y'], { temperature: 1, seeds: [5] });
    await again.complete(['y'], { temperature: 1, seeds: [7] });
    expect(inner.prompts.filter((prompt) => prompt === 'y')).toHaveLength(3);
    await again.complete(['g'], { seed: 1 });
    await again.complete(['g'], { seed: 2 }); // greedy: the seed decides nothing
    expect(inner.prompts.filter((prompt) => prompt === 'g')).toHaveLength(1);
  });

  it('keeps log-probs, those that are no finite numbers too', async () => {
    const inner = model();
    const cached = () => cachedModel(inner, { dir: join(dir, 'b'), id: 'm' });
    for (let i = 0; i < 2; i++) expect(await cached().optionLogpsAll!([{ prompt: 'odd', options: ['a', 'b'] }, { prompt: 'ab', options: ['a', 'b'] }])).toEqual([[-Infinity, NaN], [-1, -2]]);
    expect(inner.asked).toHaveLength(2);
    expect(cachedModel({ complete: async () => [] }, { dir, id: 'm' }).optionLogps).toBeUndefined();
  });

  it('asks again where an entry is damaged, and leaves no half file', async () => {
    const inner = model();
    const cached = cachedModel(inner, { dir: join(dir, 'c'), id: 'm' });
    await cached.complete(['x']);
    const [folder] = await readdir(join(dir, 'c'));
    const [file] = await readdir(join(dir, 'c', folder));
    const path = join(dir, 'c', folder, file);
    const whole = await readFile(path, 'utf8');
    await writeFile(path, whole.slice(0, 20));
    expect(await cached.complete(['x'])).toEqual(['x/0']);
    expect(await readFile(path, 'utf8')).toBe(whole);
    expect(await readdir(join(dir, 'c', folder))).toEqual([file]);
  });
});

describe('limitedModel', () => {
  it('spreads prompts over the minute', async () => {
    let clock = 0;
    const waits: number[] = [];
    const limited = limitedModel(model(), { requestsPerMinute: 60, now: () => clock, wait: async (ms) => void (waits.push(ms), (clock += ms)) });
    await limited.complete(['a', 'b', 'c']);
    await limited.optionLogpsAll!([{ prompt: 'd', options: ['x', 'y'] }]);
    await limited.complete(['e']);
    expect(waits).toEqual([3000, 1000]);
  });

  it('stops at the number of requests, and at the cost', async () => {
    const limited = limitedModel(model(), { maxRequests: 3 });
    await limited.complete(['a', 'b']);
    await expect(limited.complete(['c', 'd'])).rejects.toMatchObject({ code: 'limit', message: expect.stringContaining('max_requests') as string });
    await limited.complete(['c']);
    const dear = limitedModel(model(), { maxCost: 10, cost: (prompt, answer) => prompt.length + answer.length });
    await dear.complete(['abcdef']);
    expect(dear.spent).toEqual({ requests: 1, cost: 14 });
    await expect(dear.complete(['a'])).rejects.toMatchObject({ code: 'limit' });
    expect(() => limitedModel(model(), { requestsPerMinute: 0 })).toThrow(/requests_per_minute/);
  });

  it('lets no more calls go out at once than it may', async () => {
    let running = 0;
    let most = 0;
    const slow = { complete: async () => { most = Math.max(most, ++running); await new Promise((resolve) => setTimeout(resolve, 5)); running--; return ['x']; } };
    const limited = limitedModel(slow, { maxConcurrency: 2 });
    await Promise.all(Array.from({ length: 6 }, () => limited.complete(['a'])));
    expect(most).toBe(2);
  });
});

it('loggedModel writes down what was asked and answered, and what failed', async () => {
  const path = join(dir, 'log', 'judge.jsonl');
  const logged = loggedModel(model(), path);
  await logged.complete(['x'], { seeds: [3], temperature: 1 });
  await logged.optionLogpsAll!([{ prompt: 'yy', options: ['a', 'b'] }]);
  const failing = loggedModel({ complete: async () => { throw new Error('gone'); } }, path);
  await expect(failing.complete(['x'])).rejects.toThrow('gone');
  const lines = (await readFile(path, 'utf8')).trim().split('\n').map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(lines).toMatchObject([{ kind: 'complete', prompt: 'x', answer: 'x/3', temperature: 1 }, { kind: 'options', prompt: { prompt: 'yy' }, answer: [-1, -2] }, { kind: 'complete', error: 'gone' }]);
});
