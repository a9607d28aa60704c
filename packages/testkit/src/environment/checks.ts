import { contractChecks, outcome, using } from '../check';
import { demandSame, unchanged } from '../compare';
import { demand, show } from '../contract-violation';
import type { EnvironmentLike, EnvironmentStep, EnvironmentTurn } from './environment';
import type { EnvironmentSubject } from './subject';

const resumes = 'An episode is determined by row, seed and replies, so that a run that resumes comes to the same numbers.';

function demandTurn(turn: unknown, what: string): asserts turn is EnvironmentTurn {
  const { role, content } = (turn ?? {}) as Partial<EnvironmentTurn>;
  demand(typeof role === 'string' && role !== '' && typeof content === 'string', `${what} to be a turn with \`role\` and \`content\``, () => show(turn), 'It is rendered by the chat template.');
}

function demandStep(step: EnvironmentStep, at: number): void {
  demand(typeof step === 'object' && step !== null && typeof step.done === 'boolean', `step ${at} to say whether the episode is \`done\``, () => show(step), 'The loop over turns would go on for ever.');
  if (!step.done || step.observation !== undefined) demandTurn(step.observation, `the observation of step ${at}`);
  const { reward } = step;
  const total = typeof reward === 'object' && reward !== null ? reward.total : reward;
  demand(total === undefined || total === null || Number.isFinite(total), `the reward of step ${at} to be a finite number, null or absent`, () => show(reward), 'One NaN makes every advantage of its group NaN.');
}

interface Episode {
  first: EnvironmentTurn;
  steps: EnvironmentStep[];
}

async function episode(environment: EnvironmentLike, { reply, maxSteps }: EnvironmentSubject, row: Record<string, unknown>, seed: number): Promise<Episode> {
  const first = await environment.reset(row, seed);
  demandTurn(first, 'the first observation');
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

/** What an environment must do, check by check. */
export const environmentChecks = contractChecks('an environment', {
  'has reset and step': ({ create }: EnvironmentSubject) =>
    using(create, async (environment) => {
      for (const method of ['reset', 'step'] as const) demand(typeof environment[method] === 'function', `the method \`${method}\``, () => show(environment[method]), 'The loop over turns calls it.');
      demand(environment.specVersion === undefined || environment.specVersion === 'v1', 'specVersion "v1", where there is one', () => show(environment.specVersion), 'A host refuses a part that speaks other contracts.');
    }),

  'gives turns and finite rewards, and is done at some time': (subject: EnvironmentSubject) =>
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
