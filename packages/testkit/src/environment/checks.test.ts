import { defineEnvironment, type Environment, type EnvironmentStep, type Message } from '@espalier/spec';
import { describe, it } from 'vitest';
import { expectConformance, expectViolation } from '../test-support';
import { environmentChecks as checks } from './checks';
import { environmentSubject } from './subject';

interface Row extends Record<string, unknown> { max: number }
const said = (content: string): Message[] => [{ role: 'user', content }];

/** Guess a number; told higher or lower. */
function guessing(change: { reset?(environment: Environment<Row>, row: Row, seed: number): Promise<readonly Message[]>; step?(result: EnvironmentStep, at: number): EnvironmentStep; afterEnd?: boolean } = {}): Environment<Row> {
  let secret = 0;
  let steps = 0;
  let done = false;
  const environment = defineEnvironment<Row>({
    name: 'guess-the-number',
    async reset({ max }, seed) {
      secret = 1 + ((seed * 7) % max);
      steps = 0;
      done = false;
      return said(`a number from 1 to ${max}`);
    },
    async step({ content }) {
      if (done && !change.afterEnd) throw new Error('the episode is over');
      const guess = Number(content);
      done = guess === secret;
      const result: EnvironmentStep = done ? { reward: 1 / ++steps, done: true } : { observation: said(guess < secret ? 'higher' : 'lower'), reward: (steps++, null), done: false };
      return change.step ? change.step(result, steps) : result;
    },
  });
  return change.reset ? { ...environment, reset: (row, seed) => change.reset!(environment, row, seed) } : environment;
}
const subject = (change: Parameters<typeof guessing>[0] = {}, create = () => guessing(change)) => environmentSubject(create, { rows: [{ max: 5 }], reply: (_, step) => ({ role: 'assistant', content: String(step + 1) }), maxSteps: 8, patience: 50 });
const offering = (...tools: unknown[]) => subject({}, () => ({ ...guessing(), tools: tools as never }));
const look = { name: 'look', description: 'Looks.', parameters: { type: 'object', properties: {} } };
let resets = 0;
let left = 0;

describe('an environment', () => {
  it('that keeps its contract passes', () => expectConformance(checks, subject() as never));
  it('with tools passes', () => expectConformance(checks, offering(look, { ...look, name: 'ask' }) as never));

  it.each<[keyof typeof checks, ReturnType<typeof subject>, RegExp]>([
    ['speaks v1 and has a name', subject({}, () => ({ ...guessing(), step: undefined as never })), /to have the method `step`; found undefined/],
    ['speaks v1 and has a name', subject({}, () => ({ ...guessing(), specVersion: 'v0' as never })), /specVersion "v1" of an environment; found "v0"/],
    ['speaks v1 and has a name', offering(look, look), /every tool to have a name of its own; found "look"/],
    ['speaks v1 and has a name', offering({ ...look, description: '' }), /tool "look" to have a description/],
    ['speaks v1 and has a name', offering({ ...look, parameters: { q: 'string' } }), /the parameters of tool "look" to be a JSON schema of type "object"/],
    ['gives messages and finite rewards, and is done at some time', subject({ reset: async () => 'hello' as never }), /the beginning to be a list of at least one message; found "hello"/],
    ['gives messages and finite rewards, and is done at some time', subject({ reset: async () => [] }), /the beginning to be a list of at least one message/],
    ['gives messages and finite rewards, and is done at some time', subject({ reset: async () => [{ content: 'hello' } as never] }), /the beginning to be messages with `role` and `content`/],
    ['gives messages and finite rewards, and is done at some time', subject({ step: (result) => ({ ...result, reward: NaN }) }), /the reward of step 0 to be a finite number, null or absent; found NaN/],
    ['gives messages and finite rewards, and is done at some time', subject({ step: ({ observation: _, ...result }) => ({ ...result, done: false }) }), /the observation of step 0 to be a list of at least one message/],
    ['gives messages and finite rewards, and is done at some time', subject({ step: (result) => ({ ...result, done: undefined as never }) }), /step 0 to say whether the episode is `done`/],
    ['gives messages and finite rewards, and is done at some time', subject({ afterEnd: true, step: () => ({ observation: said('again'), done: false }) }), /an episode to be done within 8 steps; found that it goes on after 8\. A rollout waits for its end/],
    ['gives the same episode for the same row, seed and replies', subject({ reset: (environment, row) => environment.reset(row, resets++) }), /the episode of seed 1 in another instance to be the same/],
    ['begins anew when it is reset in the middle', subject({}, () => leaking()), /the episode after one that was left in the middle to be the same as before it .* leaks into the next/],
    ['refuses a step after the end, or stays done', subject({ afterEnd: true }), /a step after the end to be refused, or to say `done` again; found .*"done":false/],
    ['does not change the row', subject({ reset: (environment, row, seed) => { const first = environment.reset(row, seed); row.max = 9; return first; } }), /the rows as it was given .* begin with the same row/],
    ['heeds a signal that has fired', subject({}, () => deaf(() => new Promise(() => undefined))), /`step` to end soon after its signal has fired; found nothing after 50 ms/],
    ['heeds a signal that has fired', subject({}, () => deaf(() => Promise.reject(new Error('stopped')))), /`step` with a signal that has fired to reject with the code `aborted`, if it rejects/],
    ['keeps instances apart', subject({}, shared()), /episodes of two instances at the same time to be those one by one/],
  ])('fails "%s": %#', (check, wrong, message) => expectViolation(checks[check], wrong as never, message));
});

/** Counts steps over episodes. */
function leaking(): Environment<Row> {
  const inner = guessing();
  return { ...inner, step: async (reply) => ({ ...(await inner.step(reply)), reward: ++left }) };
}

/** Does as it likes once its signal has fired. */
function deaf(aborted: () => Promise<never>): Environment<Row> {
  const inner = guessing();
  return { ...inner, step: (reply, options) => (options?.signal?.aborted ? aborted() : inner.step(reply)) };
}

/** All instances are one. */
function shared(): () => Environment<Row> {
  const one = guessing({ afterEnd: true });
  return () => ({ ...one, step: async (reply) => (await Promise.resolve(), one.step(reply)) });
}
