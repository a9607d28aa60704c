import type { Reward, RewardContext, RewardFunction, RewardSample } from '@espalier/spec';
import { contractChecks, hasCode, outcome, within } from '../check';
import { demandJson, demandSame, snapshot, unchanged } from '../compare';
import { demand, show } from '../contract-violation';
import { demandIdentity, demandOptionalMethods } from '../identity';
import type { RewardFunctionSubject } from './subject';

const context = (more: Partial<RewardContext> = {}): RewardContext => ({ step: 0, evaluation: true, ...more });
const byPlace = 'Rewards are matched with completions by their place alone.';

/** The rewards, after a look at each. */
async function score<Row>(reward: RewardFunction<Row>, samples: readonly RewardSample<Row>[], more?: Partial<RewardContext>): Promise<readonly (Reward | null)[]> {
  const rewards = await reward.score(samples, context(more));
  demand(Array.isArray(rewards), 'an array of rewards', () => show(rewards), byPlace);
  demand(rewards.length === samples.length, `${samples.length} rewards for ${samples.length} samples`, `${rewards.length}`, byPlace);
  rewards.forEach((each, i) => demandReward(each, samples[i] as RewardSample, i));
  return rewards;
}

function demandReward(reward: unknown, sample: RewardSample, i: number): void {
  const what = `reward ${i} (completion ${show(sample.completion.slice(0, 40))})`;
  if (reward === null) return;
  if (typeof reward === 'number') return demand(Number.isFinite(reward), `${what} to be a finite number, or null where it does not apply`, String(reward), 'One NaN makes every advantage of its group NaN.');
  demand(typeof reward === 'object', `${what} to be a number, an object with \`total\`, or null`, () => show(reward), '`null` says that a reward does not apply; nothing else does.');
  const { total, perToken, components, note } = reward as Partial<Exclude<Reward, number>>;
  demand(Number.isFinite(total), `the total of ${what} to be a finite number`, String(total), 'One NaN makes every advantage of its group NaN.');
  if (perToken !== undefined) {
    demand(perToken instanceof Float32Array && perToken.length === sample.completionTokens.length, `\`perToken\` of ${what} to be a Float32Array of ${sample.completionTokens.length} numbers, one a token`, () => show(perToken), 'Credit that is out of step goes to other tokens.');
    demand(perToken.every(Number.isFinite), `\`perToken\` of ${what} to be finite`, () => show(perToken), 'One NaN makes the whole loss NaN.');
  }
  for (const [name, value] of Object.entries(components ?? {})) demand(Number.isFinite(value), `component "${name}" of ${what} to be a finite number`, show(value), 'Components are averaged into metrics.');
  demand(note === undefined || typeof note === 'string', `\`note\` of ${what} to be text`, () => show(note), 'It is written to samples.jsonl.');
}

/** The contract of a {@link RewardFunction}, check by check. */
export const rewardFunctionChecks = contractChecks('a reward function', {
  'speaks v1 and has a name': async ({ create }: RewardFunctionSubject) => {
    const reward = await create();
    demandIdentity(reward, 'a reward function', ['score']);
    demandOptionalMethods(reward, 'a reward function', ['state', 'restore']);
    demand((reward.state === undefined) === (reward.restore === undefined), '`state` and `restore` together', `only \`${reward.state ? 'state' : 'restore'}\``, 'What a checkpoint saves must be read again when a run resumes.');
  },

  'gives one finite reward, or null, a sample': async ({ create, samples }: RewardFunctionSubject) => {
    const logged: [string, number][] = [];
    await score(await create(), samples, { log: (metric, value) => void logged.push([metric, value]) });
    for (const [metric, value] of logged) demand(Number.isFinite(value), `the metric "${metric}" that it logs to be a finite number`, show(value), 'Metrics are averaged over the logging window.');
  },

  'gives no reward for no sample': async ({ create }: RewardFunctionSubject) => void (await score(await create(), [])),

  'gives rewards in the order of the samples': async ({ create, samples, tolerance }: RewardFunctionSubject) => {
    const forward = await score(await create(), samples);
    const backward = await score(await create(), [...samples].reverse());
    demandSame([...forward].reverse(), backward, { what: 'the rewards of the samples in reverse order', as: 'to be the rewards in reverse order', why: byPlace, tolerance });
  },

  'gives the same rewards again': async ({ create, samples, tolerance }: RewardFunctionSubject) => {
    const reward = await create();
    const [first, second] = [await score(reward, samples), await score(reward, samples)];
    demandSame(first, second, { what: 'a second evaluation', as: 'to give what the first gave', why: 'A run that resumes must come to the same numbers.', tolerance });
  },

  'serves several calls at once': async ({ create, samples, tolerance }: RewardFunctionSubject) => {
    const calls = [samples, samples.slice(1), [...samples].reverse()];
    const alone = await Promise.all(calls.map(async (each) => score(await create(), each)));
    const reward = await create();
    const together = await Promise.all(calls.map((each) => score(reward, each)));
    demandSame(alone, together, { what: 'calls at the same time', as: 'to give what they give alone', why: 'A trainer scores several batches at once, and a server serves several callers.', tolerance });
  },

  'does not change the samples': async ({ create, samples }: RewardFunctionSubject) => {
    const reward = await create();
    await unchanged(samples, 'the samples', 'Other reward functions see the same objects after it.', () => score(reward, samples));
  },

  'heeds a signal that has fired': async ({ create, samples, patience }: RewardFunctionSubject) => {
    const reward = await create();
    for (const early of [true, false]) {
      const controller = new AbortController();
      if (early) controller.abort();
      const scoring = outcome(() => reward.score(samples, context({ signal: controller.signal })));
      controller.abort();
      const { value, error } = await within(scoring, patience, `scoring to end soon after its signal has fired${early ? '' : ' during the call'}`, 'Ctrl-C waits for it.');
      if (value) demand(value.length === samples.length, 'a call whose signal has fired to give all rewards, or to reject', `${value.length} rewards for ${samples.length} samples`, byPlace);
      else demand(hasCode(error, 'aborted'), 'a call whose signal has fired to reject with the code `aborted`, if it rejects', () => show(error), 'Any other error is reported as a failure of the reward function.');
    }
  },

  'keeps an abort to the call that it was meant for': async ({ create, samples, tolerance }: RewardFunctionSubject) => {
    const expected = await score(await create(), samples);
    const reward = await create();
    const controller = new AbortController();
    const stopped = outcome(() => reward.score(samples, context({ signal: controller.signal })));
    const other = outcome(() => reward.score(samples, context()));
    controller.abort();
    await stopped;
    const { value, error } = await other;
    const why = 'Evaluations and training score at the same time, and only one of them was told to stop.';
    demand(error === undefined, 'a call whose signal has not fired to go on when another is aborted', () => show(error), why);
    demandSame(expected, value, { what: 'the rewards of a call beside one that is aborted', as: 'to be those that it gives alone', why, tolerance });
  },

  'keeps what it learnt in its state, and restores it': async ({ create, samples, tolerance }: RewardFunctionSubject) => {
    const first = await create();
    if (!first.state || !first.restore) return; // it says that it keeps nothing
    await score(first, samples, { evaluation: false });
    const state = first.state();
    demandJson(state, 'its state', 'It is written into a checkpoint.');
    const second = await create();
    second.restore!(JSON.parse(JSON.stringify(state)));
    demandSame(JSON.parse(JSON.stringify(state)), JSON.parse(JSON.stringify(second.state!())), { what: 'the state after a restore', as: 'to be what was restored', why: 'A run that resumes must come to the same numbers.' });
    demandSame(await score(first, samples), await score(second, samples), { what: 'rewards after a restore', as: 'to be those without the interruption', why: 'A run that resumes must come to the same numbers.', tolerance });
  },

  'learns nothing from an evaluation': async ({ create, samples }: RewardFunctionSubject) => {
    const reward = await create();
    if (!reward.state) return;
    await score(reward, samples, { evaluation: false });
    const before = snapshot(reward.state());
    await score(reward, samples);
    demandSame(before, reward.state(), { what: 'its state after an evaluation', as: 'to be that before it', why: 'Held-out rows would leak into training.' });
  },
});
