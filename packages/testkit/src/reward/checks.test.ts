import { defineReward, EspalierError, type Reward, type RewardContext, type RewardFunction, type RewardSample } from '@espalier/spec';
import { describe, expect, it } from 'vitest';
import { runChecks } from '../check';
import { expectConformance, expectViolation } from '../test-support';
import { rewardFunctionChecks as checks } from './checks';
import { rewardFunctionSubject } from './subject';

const sample: RewardSample = { prompt: 'p', completion: 'c', completionTokens: Int32Array.of(1), finishReason: 'stop', group: 'g', row: {} };
type Score = (samples: readonly RewardSample[], context: RewardContext) => Promise<readonly (Reward | null)[]>;
const length = (sample: RewardSample) => sample.completion.length / 100;
const scoring = (score: Score, more: Partial<RewardFunction> = {}) => rewardFunctionSubject(() => defineReward({ name: 'mine', score, ...more }), { patience: 50 });
const each = (one: (sample: RewardSample, i: number) => unknown) => scoring(async (samples) => samples.map(one) as Reward[]);

describe('a reward function that keeps its contract', () => {
  it('passes: numbers, null, parts, credit by token', () =>
    expectConformance(checks, each((sample) => (sample.completion === '' ? null : { total: length(sample), components: { length: length(sample) }, perToken: new Float32Array(sample.completionTokens.length), note: 'ok' }))));

  it('passes with state that survives a restore', () => {
    const create = () => {
      let seen = 0;
      return defineReward({
        name: 'running',
        score: async (samples, { evaluation }) => {
          if (!evaluation) seen += samples.length;
          return samples.map((sample) => length(sample) - seen);
        },
        state: () => ({ seen }),
        restore: (state) => void ({ seen } = state as { seen: number }),
      });
    };
    return expectConformance(checks, rewardFunctionSubject(create));
  });

  it('passes where it rejects as aborted', () => {
    const waits: Score = (samples, { signal }) =>
      new Promise((resolve, reject) => {
        const stop = () => reject(new EspalierError('aborted', 'aborted'));
        if (signal?.aborted) return stop();
        signal?.addEventListener('abort', stop);
        setTimeout(() => resolve(samples.map(length)), 1);
      });
    return expectConformance(checks, scoring(waits));
  });
});

describe('a reward function that does not', () => {
  it('says what is missing of its identity', async () => {
    await expectViolation(checks['speaks v1 and has a name'], rewardFunctionSubject({ specVersion: 'v9' as 'v1', name: 'x', score: async () => [] }), /specVersion "v1" of a reward function; found "v9"\. A host refuses/);
    await expectViolation(checks['speaks v1 and has a name'], rewardFunctionSubject({ specVersion: 'v1', name: ' ', score: async () => [] }), /a reward function to have a name; found " "/);
    await expectViolation(checks['speaks v1 and has a name'], rewardFunctionSubject({ specVersion: 'v1', name: 'x' } as RewardFunction), /"x" to have the method `score`; found undefined/);
    await expectViolation(checks['speaks v1 and has a name'], scoring(async () => [], { state: () => 1 }), /`state` and `restore` together; found only `state`/);
  });

  const finite = checks['gives one finite reward, or null, a sample'];
  it('gives another number of rewards', async () => {
    await expectViolation(finite, scoring(async (samples) => samples.slice(1).map(length)), /6 rewards for 6 samples; found 5\. Rewards are matched with completions by their place/);
    await expectViolation(finite, scoring(async () => 1 as never), /an array of rewards; found 1/);
    await expectViolation(checks['gives no reward for no sample'], scoring(async () => [0]), /0 rewards for 0 samples; found 1/);
  });

  it.each<[() => unknown, RegExp]>([
    [() => NaN, /reward 0 \(completion "It is 5\."\) to be a finite number, or null where it does not apply; found NaN\. One NaN makes every advantage/],
    [() => undefined, /to be a number, an object with `total`, or null; found undefined/],
    [() => '1', /found "1"/],
    [() => ({ total: Infinity }), /the total of reward 0 .* to be a finite number; found Infinity/],
    [() => ({ total: 1, perToken: new Float32Array(2) }), /`perToken` of reward 0 .* to be a Float32Array of 4 numbers, one a token; found Float32Array \[0, 0\]/],
    [() => ({ total: 1, components: { a: NaN } }), /component "a" of reward 0/],
    [() => ({ total: 1, note: 7 }), /`note` of reward 0 .* to be text; found 7/],
  ])('gives what is no reward: %s', (one, message) => expectViolation(finite, each(one), message));

  it('logs what is no number', () => expectViolation(finite, scoring(async (samples, { log }) => (log?.('share', NaN), samples.map(length))), /the metric "share" that it logs to be a finite number; found NaN/));
  it('sorts its answers', () => expectViolation(checks['gives rewards in the order of the samples'], scoring(async (samples) => samples.map(length).sort()), /reverse order .* matched with completions by their place/));

  it('gives other rewards each time', async () => {
    let calls = 0;
    await expectViolation(checks['gives the same rewards again'], scoring(async (samples) => samples.map(() => calls++)), /a second evaluation to give what the first gave \(0 at \[0\]\); found 6 at \[0\]/);
  });

  it('mixes calls up', () => {
    const create = () => {
      let current: readonly RewardSample[] = [];
      return defineReward({ name: 'mixed', score: async (samples) => ((current = samples), await new Promise((resolve) => setTimeout(resolve, 1)), samples.map((_, i) => (current[i] ? length(current[i]) : 0))) });
    };
    return expectViolation(checks['serves several calls at once'], rewardFunctionSubject(create, { samples: [1, 2, 3].map((n) => ({ ...sample, completion: 'x'.repeat(10 * n) })) }), /calls at the same time to give what they give alone/);
  });

  it('changes samples', (): Promise<void> => expectViolation(checks['does not change the samples'], each((one) => ((one.completion = one.completion.trim()), 1)), /the samples as it was given \("word .*; found/));
  it('does not end', (): Promise<void> => expectViolation(checks['heeds a signal that has fired'], scoring(() => new Promise(() => undefined)), /scoring to end soon after its signal has fired; found nothing after 50 ms\. Ctrl-C waits for it/));
  it('ends by another error', (): Promise<void> => expectViolation(checks['heeds a signal that has fired'], scoring((samples, { signal }) => (signal?.aborted ? Promise.reject(new Error('socket hang up')) : Promise.resolve(samples.map(length)))), /to reject with the code `aborted`, if it rejects; found the error "socket hang up"/));

  it('lets an abort reach another call', () => {
    const create = () => {
      let loading: Promise<void> | null = null;
      return defineReward({
        name: 'loading',
        async score(samples, { signal }) {
          loading ??= new Promise((resolve, reject) => {
            signal?.addEventListener('abort', () => reject(new EspalierError('aborted', 'aborted')));
            setTimeout(resolve, 2);
          });
          await loading;
          return samples.map(length);
        },
      });
    };
    return expectViolation(checks['keeps an abort to the call that it was meant for'], rewardFunctionSubject(create), /a call whose signal has not fired to go on when another is aborted; found the error "aborted"/);
  });

  const keeping = (state: () => unknown, restore: (state: unknown) => void = () => undefined) => scoring(async (samples) => samples.map(length), { state, restore });
  it('keeps a state that is no JSON', () => expectViolation(checks['keeps what it learnt in its state, and restores it'], keeping(() => ({ seen: new Map() })), /its state to be plain JSON; found .* at seen, which JSON does not keep\. It is written into a checkpoint/));
  it('does not restore it', () => {
    let made = 0;
    return expectViolation(checks['keeps what it learnt in its state, and restores it'], keeping(() => ({ seen: made++ })), /the state after a restore to be what was restored/);
  });
  it('learns from an evaluation', () => {
    let seen = 0;
    const subject = scoring(async (samples) => ((seen += samples.length), samples.map(length)), { state: () => seen, restore: (state) => void (seen = state as number) });
    return expectViolation(checks['learns nothing from an evaluation'], subject, /its state after an evaluation to be that before it .* Held-out rows would leak/);
  });

  it('is told of everything at once by runChecks', async () => {
    const failures = await runChecks(checks, each(() => NaN));
    expect(failures.map(({ name }) => name)).toContain('gives one finite reward, or null, a sample');
    expect(failures.every(({ error }) => error.message.startsWith('expected '))).toBe(true);
  });
});
