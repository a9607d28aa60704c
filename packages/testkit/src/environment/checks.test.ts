import { describe, it } from 'vitest';
import { expectConformance, expectViolation } from '../test-support';
import { environmentChecks as checks } from './checks';
import type { EnvironmentLike, EnvironmentStep, EnvironmentTurn } from './environment';
import { environmentSubject } from './subject';

interface Row extends Record<string, unknown> { max: number }
const turn = (content: string): EnvironmentTurn => ({ role: 'user', content });

/** Guess a number; told higher or lower. */
function guessing(change: { reset?(environment: EnvironmentLike<Row>, row: Row, seed: number): Promise<EnvironmentTurn>; step?(result: EnvironmentStep, at: number): EnvironmentStep; afterEnd?: boolean } = {}): EnvironmentLike<Row> {
  let secret = 0;
  let steps = 0;
  let done = false;
  const environment: EnvironmentLike<Row> = {
    async reset({ max }, seed) {
      secret = 1 + ((seed * 7) % max);
      steps = 0;
      done = false;
      return turn(`a number from 1 to ${max}`);
    },
    async step({ content }) {
      if (done && !change.afterEnd) throw new Error('the episode is over');
      const guess = Number(content);
      done = guess === secret;
      const result: EnvironmentStep = done ? { reward: 1 / ++steps, done: true } : { observation: turn(guess < secret ? 'higher' : 'lower'), reward: (steps++, null), done: false };
      return change.step ? change.step(result, steps) : result;
    },
  };
  return change.reset ? { ...environment, reset: (row, seed) => change.reset!(environment, row, seed) } : environment;
}
const subject = (change: Parameters<typeof guessing>[0] = {}, create = () => guessing(change)) => environmentSubject(create, { rows: [{ max: 5 }], reply: (_, step) => ({ role: 'assistant', content: String(step + 1) }), maxSteps: 8 });
let resets = 0;
let left = 0;

describe('an environment', () => {
  it('that keeps its contract passes', () => expectConformance(checks, subject() as never));

  it.each<[keyof typeof checks, ReturnType<typeof subject>, RegExp]>([
    ['has reset and step', subject({}, () => ({ reset: async () => turn('') }) as never), /the method `step`; found undefined/],
    ['gives turns and finite rewards, and is done at some time', subject({ reset: async () => 'hello' as never }), /the first observation to be a turn with `role` and `content`; found "hello"/],
    ['gives turns and finite rewards, and is done at some time', subject({ step: (result) => ({ ...result, reward: NaN }) }), /the reward of step 0 to be a finite number, null or absent; found NaN/],
    ['gives turns and finite rewards, and is done at some time', subject({ step: ({ observation: _, ...result }) => ({ ...result, done: false }) }), /the observation of step 0 to be a turn/],
    ['gives turns and finite rewards, and is done at some time', subject({ step: (result) => ({ ...result, done: undefined as never }) }), /step 0 to say whether the episode is `done`/],
    ['gives turns and finite rewards, and is done at some time', subject({ afterEnd: true, step: () => ({ observation: turn('again'), done: false }) }), /an episode to be done within 8 steps; found that it goes on after 8\. A rollout waits for its end/],
    ['gives the same episode for the same row, seed and replies', subject({ reset: (environment, row) => environment.reset(row, resets++) }), /the episode of seed 1 in another instance to be the same/],
    ['begins anew when it is reset in the middle', subject({}, () => leaking()), /the episode after one that was left in the middle to be the same as before it .* leaks into the next/],
    ['refuses a step after the end, or stays done', subject({ afterEnd: true }), /a step after the end to be refused, or to say `done` again; found .*"done":false/],
    ['does not change the row', subject({ reset: (environment, row, seed) => { const first = environment.reset(row, seed); row.max = 9; return first; } }), /the rows as it was given .* begin with the same row/],
    ['keeps instances apart', subject({}, shared()), /episodes of two instances at the same time to be those one by one/],
  ])('fails "%s": %#', (check, wrong, message) => expectViolation(checks[check], wrong as never, message));
});

/** Counts steps over episodes. */
function leaking(): EnvironmentLike<Row> {
  const inner = guessing();
  return { reset: inner.reset, step: async (reply) => ({ ...(await inner.step(reply)), reward: ++left }) };
}

/** All instances are one. */
function shared(): () => EnvironmentLike<Row> {
  const one = guessing({ afterEnd: true });
  return () => ({ reset: one.reset, step: async (reply) => (await Promise.resolve(), one.step(reply)) });
}
