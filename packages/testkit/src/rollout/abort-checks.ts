import { outcome, using, within } from '../check';
import { demand, show } from '../contract-violation';
import { generateAll } from './completions';
import type { RolloutEngineSubject } from './subject';

const why = 'A trainer that stops asks for what is under way, and Ctrl-C waits for it.';

/** What a rollout engine does when it is told to stop. */
export const abortChecks = {
  'gives everything back as aborted where the signal has fired before': (subject: RolloutEngineSubject) =>
    using(subject.create, async (engine) => {
      const requests = [subject.request(0, { n: 2 }), subject.request(1)];
      const { value, error } = await within(outcome(() => generateAll(engine, requests, { signal: AbortSignal.abort() })), subject.patience, 'a generation whose signal has fired to end', why);
      demand(value !== undefined, 'a generation whose signal has fired to end with its samples as `aborted`', () => show(error), why);
      for (const [key, { finishReason }] of value) demand(finishReason === 'aborted', `${show(key)}, whose signal had fired, to end by \`aborted\``, show(finishReason), why);
    }),

  'gives what is under way back as aborted when the signal fires': (subject: RolloutEngineSubject) =>
    using(subject.create, async (engine) => {
      const controller = new AbortController();
      const long = { ignoreEos: true, maxNewTokens: subject.longest };
      const requests = [subject.request(0, { n: 2, sampling: { maxNewTokens: 1 } }), subject.request(1, { n: 2, sampling: long }), subject.request(2, { sampling: long })];
      const generating = outcome(() => generateAll(engine, requests, { signal: controller.signal, onCompletion: () => controller.abort() }));
      const { value, error } = await within(generating, subject.patience, 'a generation whose signal fires to end', why);
      demand(value !== undefined, 'a generation whose signal fires to give every sample back, those under way as `aborted`', () => show(error), why);
      const reasons = [...value].map(([key, { finishReason }]) => `${key} ${finishReason}`);
      const cut = [...value.values()].filter(({ finishReason }) => finishReason === 'aborted');
      demand(cut.length > 0, `samples of ${subject.longest} tokens to be \`aborted\` when the signal fires after one of 1 token`, () => show(reasons), why);
    }),

  'keeps an abort to the call that it was meant for': (subject: RolloutEngineSubject) =>
    using(subject.create, async (engine) => {
      const controller = new AbortController();
      const stopped = outcome(() => generateAll(engine, [subject.request(0, { n: 2 })], { signal: controller.signal }));
      const other = outcome(() => generateAll(engine, [subject.request(1, { n: 3 })]));
      controller.abort();
      await within(stopped, subject.patience, 'a generation whose signal fires to end', why);
      const { value, error } = await other;
      const cut = [...(value ?? [])].filter(([, { finishReason }]) => finishReason === 'aborted').map(([key]) => key);
      demand(value !== undefined && cut.length === 0, 'a call whose signal has not fired to go on when another is aborted', () => (value ? `${show(cut)} aborted` : show(error)), 'Evaluations, judges and training sample at the same time, and only one of them was told to stop.');
    }),

  'goes on serving when a caller leaves early': (subject: RolloutEngineSubject) =>
    using(subject.create, async (engine) => {
      const leave = async () => {
        for await (const _ of engine.generate([subject.request(0, { n: 3 }), subject.request(1, { n: 2, sampling: { maxNewTokens: subject.longest } })])) break;
      };
      await within(leave(), subject.patience, 'a loop over completions that is left to end', why);
      await within(generateAll(engine, [subject.request(2, { n: 2 })]), 3 * subject.patience, 'a new request to be served after a caller has left early', 'Leaving the loop ends that call, and not the engine.');
    }),
} as const;
