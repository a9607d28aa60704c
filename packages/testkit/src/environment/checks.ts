import type { Environment, EnvironmentStep, Message } from '@espalier/spec';
import { contractChecks, hasCode, outcome, using, within } from '../check';
import { demandJson, demandSame, unchanged } from '../compare';
import { demand, show } from '../contract-violation';
import { demandIdentity, demandOptionalMethods } from '../identity';
import type { EnvironmentSubject } from './subject';

const resumes = 'An episode is determined by row, seed and replies, so that a run that resumes comes to the same numbers.';

function demandMessages(messages: unknown, what: string): asserts messages is readonly Message[] {
  demand(Array.isArray(messages) && messages.length > 0, `${what} to be a list of at least one message`, () => show(messages), 'The policy would be asked to reply to nothing.');
  for (const message of messages as unknown[]) {
    const { role, content } = (message ?? {}) as Partial<Message>;
    demand(typeof role === 'string' && role !== '' && typeof content === 'string', `${what} to be messages with \`role\` and \`content\``, () => show(message), 'They are rendered by the chat template.');
  }
}

function demandStep(step: EnvironmentStep, at: number): void {
  demand(typeof step === 'object' && step !== null && typeof step.done === 'boolean', `step ${at} to say whether the episode is \`done\``, () => show(step), 'The loop over turns would go on for ever.');
  const said = step.observation !== undefined && step.observation.length !== 0;
  if (!step.done || said) demandMessages(step.observation, `the observation of step ${at}`);
  const { reward } = step;
  const total = typeof reward === 'object' && reward !== null ? reward.total : reward;
  demand(total === undefined || total === null || Number.isFinite(total), `the reward of step ${at} to be a finite number, null or absent`, () => show(reward), 'One NaN makes every advantage of its group NaN.');
}

interface Episode {
  first: readonly Message[];
  steps: EnvironmentStep[];
}

async function episode(environment: Environment, { reply, maxSteps }: EnvironmentSubject, row: Record<string, unknown>, seed: number): Promise<Episode> {
  const first = await environment.reset(row, seed);
  demandMessages(first, 'the beginning');
  const steps: EnvironmentStep[] = [];
  let observation = first;
  while (steps.length < maxSteps) {
    const step = await environment.step(reply(observation, steps.length));
    demandStep(step, steps.length);
    steps.push(step);
    if (step.done) return { first, steps };
    observation = step.observation!;
  }
  demand(false, `an episode to be done within ${maxSteps} steps`, `that it goes on after ${maxSteps}`, 'A rollout waits for its end (`maxSteps` and `reply` say how long that may take).');
}

function demandTools(tools: Environment['tools']): void {
  if (tools === undefined) return;
  demand(Array.isArray(tools), '`tools` to be a list, or absent', () => show(tools), 'The chat template is told them.');
  const names = new Set<string>();
  for (const { name, description, parameters } of tools) {
    demand(typeof name === 'string' && name !== '' && !names.has(name), 'every tool to have a name of its own', () => show(name), 'A call says which tool it means by its name alone.');
    names.add(name);
    demand(typeof description === 'string' && description !== '', `tool "${name}" to have a description`, () => show(description), 'It is all that the policy knows of the tool.');
    demand(parameters?.type === 'object', `the parameters of tool "${name}" to be a JSON schema of type "object"`, () => show(parameters), 'Chat templates render it, and arguments come by name.');
    demandJson(parameters, `the parameters of tool "${name}"`, 'Chat templates render it as JSON.');
  }
}

/** The contract of an {@link Environment}, check by check. */
export const environmentChecks = contractChecks('an environment', {
  'speaks v1 and has a name': ({ create }: EnvironmentSubject) =>
    using(create, async (environment) => {
      demandIdentity(environment, 'an environment', ['reset', 'step']);
      demandOptionalMethods(environment, 'an environment', ['close']);
      demandTools(environment.tools);
    }),

  'gives messages and finite rewards, and is done at some time': (subject: EnvironmentSubject) =>
    using(subject.create, async (environment) => {
      for (const row of subject.rows) for (const seed of subject.seeds) await episode(environment, subject, row, seed);
    }),

  'gives the same episode for the same row, seed and replies': (subject: EnvironmentSubject) =>
    using(subject.create, (one) =>
      using(subject.create, async (other) => {
        for (const row of subject.rows)
          for (const seed of subject.seeds) demandSame(await episode(one, subject, row, seed), await episode(other, subject, row, seed), { what: `the episode of seed ${seed} in another instance`, as: 'to be the same', why: resumes });
      }),
    ),

  'begins anew when it is reset in the middle': (subject: EnvironmentSubject) =>
    using(subject.create, async (environment) => {
      const [row] = subject.rows;
      const whole = await episode(environment, subject, row, subject.seeds[0]);
      const first = await environment.reset(row, subject.seeds.at(-1)!);
      await environment.step(subject.reply(first, 0));
      demandSame(whole, await episode(environment, subject, row, subject.seeds[0]), { what: 'the episode after one that was left in the middle', as: 'to be the same as before it', why: 'What an episode leaves behind leaks into the next.' });
    }),

  'refuses a step after the end, or stays done': (subject: EnvironmentSubject) =>
    using(subject.create, async (environment) => {
      const { first } = await episode(environment, subject, subject.rows[0], subject.seeds[0]);
      const { value, error } = await outcome(() => environment.step(subject.reply(first, 0)));
      if (error === undefined) demand(value?.done === true, 'a step after the end to be refused, or to say `done` again', () => show(value), 'A dead episode would come to life, and its reward count twice.');
    }),

  'does not change the row': (subject: EnvironmentSubject) =>
    using(subject.create, async (environment) => void (await unchanged(subject.rows, 'the rows', 'The other samples of the group begin with the same row.', () => episode(environment, subject, subject.rows[0], subject.seeds[0])))),

  'heeds a signal that has fired': (subject: EnvironmentSubject) =>
    using(subject.create, async (environment) => {
      const [row] = subject.rows;
      const [seed] = subject.seeds;
      const first = await environment.reset(row, seed);
      const signal = AbortSignal.abort();
      const calls = { step: () => environment.step(subject.reply(first, 0), { signal }), reset: () => environment.reset(row, seed, { signal }) };
      for (const [method, call] of Object.entries(calls)) {
        const { error } = await within(outcome<unknown>(call), subject.patience, `\`${method}\` to end soon after its signal has fired`, 'Ctrl-C waits for it.');
        demand(error === undefined || hasCode(error, 'aborted'), `\`${method}\` with a signal that has fired to reject with the code \`aborted\`, if it rejects`, () => show(error), 'Any other error is reported as a failure of the environment.');
      }
    }),

  'keeps instances apart': (subject: EnvironmentSubject) =>
    using(subject.create, (one) =>
      using(subject.create, async (other) => {
        const [row] = subject.rows;
        const [s, t] = [subject.seeds[0], subject.seeds.at(-1)!];
        const alone = [await episode(one, subject, row, s), await episode(other, subject, row, t)];
        const together = await Promise.all([episode(one, subject, row, s), episode(other, subject, row, t)]);
        demandSame(alone, together, { what: 'episodes of two instances at the same time', as: 'to be those one by one', why: 'The samples of a group run at the same time, each in an instance of its own.' });
      }),
    ),
});
