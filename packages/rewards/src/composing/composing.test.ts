import { defineReward, EspalierError, type Reward, type RewardFunction, type RewardSample } from '@espalier/spec';
import { describe, expect, it, vi } from 'vitest';
import { composeRewards } from '../compose-rewards';
import { sampleOf, scoreAll, totals } from '../test-support';
import { cachedReward } from './cached-reward';
import { ensembleReward } from './ensemble-reward';
import { resilientReward } from './resilient-reward';

const fixed = (name: string, values: readonly (Reward | null)[]): RewardFunction => defineReward({ name, score: async () => values });
/** By the number in the completion. */
const byText = (name: string, of = (value: number) => value) => defineReward({ name, score: async (samples) => samples.map(({ completion }) => (completion === '' ? null : of(Number(completion)))) });
const samples = (...completions: (string | number)[]) => completions.map((completion) => sampleOf(String(completion)));
const grouped = (...groups: (string | number)[][]) => groups.flatMap((group, g) => group.map((completion) => sampleOf(String(completion), {}, { group: `g${g}` })));

describe('composeRewards: weights, gates, metrics', () => {
  it('a gate withholds what comes after it, but for what is taken off', async () => {
    const reward = composeRewards([{ reward: fixed('form', [1, 0, 0, null]), weight: 0.2, gate: 1 }, fixed('right', [1, 1, 0, 1]), { reward: fixed('long', [-1, -1, 0, 0]), weight: 0.5 }]);
    expect(await scoreAll(reward, samples(0, 0, 0, 0))).toEqual([
      { total: expect.closeTo(0.7, 12) as number, components: { form: 1, right: 1, long: -1 } },
      { total: -0.5, components: { form: 0, right: 1, long: -1 } },
      { total: 0, components: { form: 0, right: 0, long: 0 } },
      { total: 0, components: { right: 1, long: 0 } },
    ]);
  });
  it('failing a gate is never better than passing it, with any rewards behind it', async () => {
    for (let right = -2; right <= 2; right++) {
      for (let penalty = -2; penalty <= 2; penalty++) {
        const reward = composeRewards([{ reward: fixed('form', [1, 0]), weight: 0.1, gate: 1 }, fixed('a', [right, right]), fixed('b', [penalty, penalty])]);
        const [passes, fails] = await totals(reward, samples(0, 0));
        expect(fails!).toBeLessThan(passes!);
      }
    }
  });
  it('weight 0 is a metric, which alone makes no reward', async () => {
    const reward = composeRewards([fixed('a', [1, null]), { reward: fixed('seen', [5, 5]), weight: 0 }]);
    expect(await scoreAll(reward, samples(0, 0))).toEqual([{ total: 1, components: { a: 1, seen: 5 } }, null]);
  });
  it('refuses gates and normalisations that are none', () => {
    expect(() => composeRewards([{ reward: fixed('a', []), gate: NaN }])).toThrow('the gate of "a" is NaN');
    expect(() => composeRewards([{ reward: fixed('a', []), normalize: 'batch' as 'group' }])).toThrow('none, group or running');
  });
});

describe('composeRewards: normalisation of each part', () => {
  it('group: GDPO', async () => {
    const reward = composeRewards([{ reward: byText('big', (x) => 100 * x), normalize: 'group' }, { reward: byText('small'), normalize: 'group' }]);
    const given = await totals(reward, grouped([1, 3], [5, 5], [7]));
    const one = 1 / (Math.SQRT2 + 1e-4) + 100 / (100 * Math.SQRT2 + 1e-4); // each part has the same say, whatever its scale
    expect(given[0]).toBeCloseTo(-one, 10);
    expect(given[1]).toBeCloseTo(one, 10);
    expect(given.slice(2)).toEqual([0, 0, 0]);
  });
  it('running: over all samples so far; components stay as they were given; what is evaluated does not count', async () => {
    const make = () => composeRewards([{ reward: byText('a'), normalize: 'running' }]);
    const reward = make();
    expect(await scoreAll(reward, samples(1, 3, ''))).toEqual([{ total: expect.closeTo(-1 / (Math.SQRT2 + 1e-4), 10) as number, components: { a: 1 } }, { total: expect.closeTo(1 / (Math.SQRT2 + 1e-4), 10) as number, components: { a: 3 } }, null]);
    const before = JSON.stringify(reward.state!());
    expect(await totals(reward, samples(2), { evaluation: true })).toEqual([0]);
    expect(JSON.stringify(reward.state!())).toBe(before);
    const again = make();
    again.restore!(JSON.parse(before));
    for (const values of [[4, 5], [9]]) expect(await totals(again, samples(...values))).toEqual(await totals(reward, samples(...values)));
  });
  it('per-token parts are scaled with their reward', async () => {
    const dense = defineReward({ name: 'dense', score: async (all) => all.map(({ completion }) => ({ total: Number(completion), perToken: Float32Array.of(2) })) });
    const [score] = await scoreAll(composeRewards([{ reward: dense, normalize: 'group', weight: 3 }]), grouped([1, 3]));
    expect((score as { perToken: Float32Array }).perToken[0]).toBeCloseTo(6 / (Math.SQRT2 + 1e-4), 4);
  });
});

describe('ensembleReward', () => {
  const members = [fixed('a', [1, 1, null]), fixed('b', [0, 1, 2]), fixed('c', [0.5, 1, null])];
  it('mean, the most pessimistic, less the variance', async () => {
    expect(await totals(ensembleReward(members, { method: 'mean' }), samples(0, 0, 0))).toEqual([0.5, 1, 2]);
    expect(await totals(ensembleReward(members), samples(0, 0, 0))).toEqual([0, 1, 2]);
    expect(await scoreAll(ensembleReward(members, { method: 'uwo', lambda: 3 }), samples(0, 0, 0))).toEqual([
      { total: 0.5 - 3 * (0.5 / 3), components: { a: 1, b: 0, c: 0.5, variance: 0.5 / 3 } },
      { total: 1, components: { a: 1, b: 1, c: 1, variance: 0 } },
      null, // one member alone has no variance
    ]);
    expect(await totals(ensembleReward(members, { minMembers: 3 }), samples(0, 0, 0))).toEqual([0, 1, null]);
  });
  it('refuses what cannot be', async () => {
    expect(() => ensembleReward([])).toThrow('no members');
    expect(() => ensembleReward([members[0], members[0]])).toThrow('two reward functions are named "a"');
    expect(() => ensembleReward(members, { lambda: -1 })).toThrow('`lambda` is -1');
    expect(() => ensembleReward(members, { minMembers: 4 })).toThrow('from 1 to 3');
    await expect(scoreAll(ensembleReward(members), samples(0))).rejects.toThrow('"a" gave 3 rewards for 1 samples');
  });
});

describe('resilientReward', () => {
  const flaky = (failures: number, error: () => unknown = () => new Error('busy')) => {
    const calls: RewardSample[][] = [];
    const reward = defineReward({
      name: 'flaky',
      async score(given) {
        calls.push([...given]);
        if (calls.length <= failures) throw error();
        return given.map(({ completion }) => Number(completion));
      },
    });
    return { reward, calls };
  };
  it('tries again, and gives up in the end', async () => {
    const two = flaky(2);
    expect(await totals(resilientReward(two.reward, { baseDelayMs: 1 }), samples(3))).toEqual([3]);
    expect(two.calls).toHaveLength(3);
    await expect(scoreAll(resilientReward(flaky(9).reward, { baseDelayMs: 1, maxRetries: 2 }), samples(3))).rejects.toMatchObject({ code: 'network', message: expect.stringContaining('"flaky" failed 3 times, at last: busy') as string });
    const logged = vi.fn();
    expect(await totals(resilientReward(flaky(9).reward, { baseDelayMs: 1, maxRetries: 2, onFailure: 'null' }), samples(3, 4), { log: logged })).toEqual([null, null]);
    expect(logged).toHaveBeenCalledWith('flaky/failed', 2);
  });
  it('does not try again what would fail again', async () => {
    const wrong = flaky(1, () => new EspalierError('bad_data', 'no'));
    await expect(scoreAll(resilientReward(wrong.reward, { onFailure: 'null' }), samples(3))).rejects.toMatchObject({ code: 'bad_data' });
    expect(wrong.calls).toHaveLength(1);
    await expect(scoreAll(resilientReward(fixed('short', [])), samples(3))).rejects.toThrow('"short" gave 0 rewards for 1 samples');
  });
  it('gives up a call that takes too long, and fires its signal', async () => {
    let fired = 0;
    let calls = 0;
    const slow = defineReward({
      name: 'slow',
      score: (given, { signal }) => (++calls > 1 ? Promise.resolve(given.map(() => 1)) : new Promise(() => signal!.addEventListener('abort', () => fired++))),
    });
    expect(await totals(resilientReward(slow, { timeoutMs: 30, baseDelayMs: 1 }), samples(1))).toEqual([1]);
    expect(fired).toBe(1);
  });
  it('so many calls at once, groups whole, rewards in their order', async () => {
    let [now, most] = [0, 0];
    const sizes: number[] = [];
    const reward = defineReward({
      name: 'counted',
      async score(given) {
        most = Math.max(most, ++now);
        sizes.push(given.length);
        await new Promise((resolve) => setTimeout(resolve, 5));
        now--;
        return given.map(({ completion }) => Number(completion));
      },
    });
    expect(await totals(resilientReward(reward, { concurrency: 2, batchSize: 4 }), grouped([1, 2, 3], [4], [5, 6], [7, 8, 9, 10, 11]))).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    expect([most, sizes]).toEqual([2, [4, 2, 5]]);
  });
  it('ends at once when it is aborted', async () => {
    const controller = new AbortController();
    const pending = scoreAll(resilientReward(defineReward({ name: 'never', score: () => new Promise(() => undefined) }), { onFailure: 'null' }), samples(1), { signal: controller.signal });
    controller.abort();
    await expect(pending).rejects.toMatchObject({ code: 'aborted' });
    expect(() => resilientReward(fixed('a', []), { concurrency: 0 })).toThrow('`concurrency` is 0');
  });
});

describe('cachedReward', () => {
  const counted = () => {
    const asked: string[] = [];
    const reward = defineReward({
      name: 'counted',
      async score(given) {
        asked.push(...given.map(({ completion }) => completion));
        await Promise.resolve();
        if (asked.includes('fails')) throw new Error('no');
        return given.map(({ completion }) => (completion === '' ? null : Number(completion)));
      },
    });
    return { asked, reward };
  };
  it('asks once for the same content, null included, in one call and in several', async () => {
    const { asked, reward } = counted();
    const cached = cachedReward(reward);
    expect(await Promise.all([totals(cached, samples(1, 2, 1, '')), totals(cached, samples(2, 3))])).toEqual([[1, 2, 1, null], [2, 3]]);
    expect(await totals(cached, samples('', 3))).toEqual([null, 3]);
    expect(asked).toEqual(['1', '2', '', '3']);
  });
  it('another row, prompt or token is other content; the order of keys is not', async () => {
    const { asked, reward } = counted();
    const cached = cachedReward(reward);
    await scoreAll(cached, [sampleOf('1', { a: 1, b: [2] }), sampleOf('1', { b: [2], a: 1 }), sampleOf('1', { a: 1, b: [3] }), sampleOf('1', { a: 1, b: [2] }, { prompt: 'q' }), sampleOf('1', { a: 1, b: [2] }, { completionTokens: Int32Array.of(9) })]);
    expect(asked).toHaveLength(4);
    const keyed = cachedReward(reward, { key: ({ completion }) => completion });
    await scoreAll(keyed, [sampleOf('7', { a: 1 }), sampleOf('7', { a: 2 })]);
    expect(asked).toHaveLength(5);
  });
  it('forgets the oldest, and failures', async () => {
    const { asked, reward } = counted();
    const cached = cachedReward(reward, { maxEntries: 2 });
    for (const value of [1, 2, 1, 3, 1, 2]) await scoreAll(cached, samples(value));
    expect(asked).toEqual(['1', '2', '3', '2']);
    await expect(scoreAll(cached, samples('fails'))).rejects.toThrow('no');
    asked.length = 0;
    await expect(scoreAll(cached, samples('fails'))).rejects.toThrow('no');
    expect(asked).toEqual(['fails']);
    expect(() => cachedReward({ ...reward, state: () => 1, restore: () => undefined })).toThrow('keeps state');
  });
});
