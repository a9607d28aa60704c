import type { Algorithm, Experience, ScoredTrajectory } from '@espalier/spec';
import { contractChecks, hasCode, outcome, within } from '../check';
import { demandSame, unchanged } from '../compare';
import { demand, show } from '../contract-violation';
import { demandIdentity } from '../identity';
import { evaluate } from '../objective/evaluate';
import { outputNames } from '../objective/output-names';
import { demandBatch, demandSampledActions } from './demand-batch';
import type { AlgorithmSubject } from './subject';

type Groups = readonly (readonly ScoredTrajectory[])[];

/** The experience of a fresh algorithm, looked at. */
async function experience({ create, context }: AlgorithmSubject, groups: Groups): Promise<{ algorithm: Algorithm; made: Experience }> {
  const algorithm = await create();
  const made = await algorithm.experience(groups, context());
  demandBatch(made.batch);
  demandSampledActions(made.batch, groups.flat());
  for (const [name, value] of Object.entries(made.metrics)) demand(Number.isFinite(value), `metric "${name}" to be a finite number`, () => show(value), 'It is logged, and averaged over steps.');
  if (made.advantages) {
    demandSame(groups.map((group) => group.length), made.advantages.map((row) => row.length), { what: 'the advantages', as: 'to have a row a group and an entry a trajectory', why: 'They are written beside the samples by their place.' });
    for (const advantage of made.advantages.flat()) demand(advantage === null || Number.isFinite(advantage), 'an advantage to be a finite number, or null', () => show(advantage), 'They are written to samples.jsonl.');
  }
  return { algorithm, made };
}

const withRewards = (groups: Groups, reward: (g: number, k: number) => number | null): Groups => groups.map((group, g) => group.map((trajectory, k) => ({ ...trajectory, rewards: Object.fromEntries(Object.keys(trajectory.rewards).map((name) => [name, reward(g, k)])) })));

/** The contract of an {@link Algorithm}, check by check. Its objective has a suite of its own. */
export const algorithmChecks = contractChecks('an algorithm', {
  'speaks v1 and says what it needs': async ({ create }: AlgorithmSubject) => {
    const algorithm = await create();
    demandIdentity(algorithm, 'an algorithm', ['experience']);
    demandIdentity(algorithm.objective, 'the objective of an algorithm', ['evaluate']);
    demand(algorithm.objective.needs.every((name) => outputNames.includes(name)), `its objective to need some of ${outputNames.join(', ')}`, () => show(algorithm.objective.needs), 'The learner computes what stands there.');
    demand(Number.isInteger(algorithm.numIterations) && algorithm.numIterations >= 1, '`numIterations` to be a whole number from 1', () => show(algorithm.numIterations), 'So many optimiser steps are taken on one experience.');
    demand(typeof algorithm.needsReference === 'boolean', '`needsReference` to be true or false', () => show(algorithm.needsReference), 'A copy of the first weights is kept by it.');
  },

  'makes a batch of what the policy sampled': async (subject: AlgorithmSubject) => {
    const groups = subject.groups();
    const { made } = await experience(subject, groups);
    const most = groups.flat().reduce((sum, { trainable }) => sum + trainable.reduce((a, b) => a + b, 0), 0);
    demand(made.batch.actionIndex.length > 0 && made.batch.actionIndex.length <= most, `from 1 to ${most} actions, the sampled tokens`, `${made.batch.actionIndex.length}`, 'What is left of a round is what is learnt from it.');
  },

  'makes a batch that its objective can be evaluated on': async (subject: AlgorithmSubject) => {
    const { algorithm, made } = await experience(subject, subject.groups());
    const { learner } = subject.context();
    evaluate(algorithm.objective, await learner.forward(made.batch, algorithm.objective.needs), made.batch);
  },

  'leaves out what nothing scored, in place of scoring it 0': async (subject: AlgorithmSubject) => {
    // All others are below 0: taken for a 0, the one without a reward would be the best.
    const groups = withRewards(subject.groups(), (g, k) => (g === 0 && k === 0 ? null : -1 - k));
    const { made } = await experience(subject, groups);
    const advantage = made.advantages?.[0][0] ?? null;
    demand(advantage === null || Math.abs(advantage) <= subject.tolerance, 'the advantage of a trajectory without a reward to be null, or 0', () => show(advantage), 'Null says that a reward does not apply; as a 0 it would be praised among worse ones.');
  },

  'goes without any reward': async (subject: AlgorithmSubject) => {
    const { algorithm, made } = await experience(subject, withRewards(subject.groups(), () => null));
    if (made.batch.actionIndex.length === 0) return; // nothing to train on: the trainer takes no step
    const { learner } = subject.context();
    evaluate(algorithm.objective, await learner.forward(made.batch, algorithm.objective.needs), made.batch);
  },

  'does not depend on the order of the groups': async (subject: AlgorithmSubject) => {
    const groups = subject.groups();
    const { made } = await experience(subject, groups);
    const { made: other } = await experience(subject, [...groups].reverse());
    if (!made.advantages || !other.advantages) return;
    demandSame(made.advantages, [...other.advantages].reverse(), { what: 'the advantages of the groups in reverse order', as: 'to be the same', why: 'Prompts are shuffled.', tolerance: subject.tolerance });
  },

  'gives the same again': async (subject: AlgorithmSubject) => {
    const [{ made: first }, { made: second }] = [await experience(subject, subject.groups()), await experience(subject, subject.groups())];
    demandSame(first, second, { what: 'the experience of another instance', as: 'to be that of the first', why: 'A run that resumes must come to the same numbers.' });
  },

  'does not change the trajectories': async (subject: AlgorithmSubject) => {
    const groups = subject.groups();
    const algorithm = await subject.create();
    await unchanged(groups, 'the trajectories', 'They are written to samples.jsonl afterwards.', () => algorithm.experience(groups, subject.context()));
  },

  'asks for the reference only where it says that it needs one': async (subject: AlgorithmSubject) => {
    const algorithm = await subject.create();
    const context = subject.context();
    await algorithm.experience(subject.groups(), context);
    demand(algorithm.needsReference || !context.learner.calls.some(({ reference }) => reference), 'no call for the reference, as `needsReference` is false', 'one', 'No copy of the first weights is kept then, and the learner refuses.');
  },

  'hands its signal on': async (subject: AlgorithmSubject) => {
    const algorithm = await subject.create();
    const context = subject.context({ signal: AbortSignal.abort() });
    const { error } = await within(outcome(() => algorithm.experience(subject.groups(), context)), subject.patience, 'an experience whose signal has fired to end', 'Ctrl-C waits for it.');
    if (error !== undefined) demand(hasCode(error, 'aborted'), 'an experience whose signal has fired to reject with the code `aborted`', () => show(error), 'Any other error is reported as a failure of the run.');
    demand(context.learner.calls.every(({ signal }) => signal !== undefined), 'every call of the learner to be given the signal', 'a call without', 'A forward pass over a whole round takes long.');
  },
});
