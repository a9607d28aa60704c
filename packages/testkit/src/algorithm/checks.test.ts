import { defineAlgorithm, defineObjective, type Algorithm, type Experience, type ExperienceContext, type ScoredTrajectory, type TokenBatch } from '@espalier/spec';
import { describe, it } from 'vitest';
import { expectConformance, expectViolation } from '../test-support';
import { algorithmChecks as checks } from './checks';
import { algorithmSubject } from './subject';

type Groups = readonly (readonly ScoredTrajectory[])[];
const reward = ({ rewards: { right } }: ScoredTrajectory) => (typeof right === 'number' ? right : null);

/** REINFORCE with the group's mean as its baseline; every trajectory a sequence of its own. */
async function experience(groups: Groups, { learner, signal }: ExperienceContext): Promise<Experience> {
  const advantages = groups.map((group) => {
    const scored = group.map(reward).filter((r) => r !== null);
    return group.map((trajectory) => (reward(trajectory) === null ? null : reward(trajectory)! - scored.reduce((a, b) => a + b, 0) / scored.length));
  });
  const offsets = [0];
  const actionIndex: number[] = [];
  const column: number[] = [];
  const tokens: number[] = [];
  groups.flat().forEach((trajectory, i) => {
    trajectory.tokens.forEach((token, t) => {
      if (trajectory.trainable[t] && advantages.flat()[i] !== null) {
        actionIndex.push(tokens.length);
        column.push(advantages.flat()[i]!);
      }
      tokens.push(token);
    });
    offsets.push(tokens.length);
  });
  const batch: TokenBatch = { tokens: Int32Array.from(tokens), offsets: Int32Array.from(offsets), actionIndex: Int32Array.from(actionIndex), columns: { advantages: Float32Array.from(column) }, normalizer: { tokens: column.length, sequences: groups.flat().length } };
  batch.columns.oldLogps = (await learner.forward(batch, ['logps'], { ...(signal ? { signal } : {}) })).logps!;
  return { batch, metrics: { reward: 1 }, advantages };
}
const objective = defineObjective({
  name: 'reinforce', needs: ['logps'], coupling: 'token',
  evaluate: ({ logps }, { columns: { advantages }, normalizer }) => ({ loss: -logps!.reduce((sum, logp, a) => sum + logp * advantages[a], 0) / Math.max(normalizer.tokens, 1), grads: { logps: advantages.map((a) => -a / Math.max(normalizer.tokens, 1)) }, metrics: {} }),
});
const good: Algorithm = defineAlgorithm({ name: 'reinforce', objective, numIterations: 1, needsReference: false, experience });
const changed = (more: Partial<Algorithm>) => algorithmSubject({ ...good, ...more });
const after = (change: (made: Experience, groups: Groups) => Partial<Experience>) => changed({ experience: async (groups, context) => { const made = await experience(groups, context); return { ...made, ...change(made, groups) }; } });
const batchOf = (change: (batch: TokenBatch) => Partial<TokenBatch>) => after(({ batch }) => ({ batch: { ...batch, ...change(batch) } }));
let calls = 0;

describe('an algorithm', () => {
  it('that keeps its contract passes', () => expectConformance(checks, changed({})));

  it.each<[keyof typeof checks, ReturnType<typeof algorithmSubject>, RegExp]>([
    ['speaks v1 and says what it needs', changed({ numIterations: 0 }), /`numIterations` to be a whole number from 1; found 0/],
    ['speaks v1 and says what it needs', changed({ needsReference: undefined as never }), /`needsReference` to be true or false; found undefined/],
    ['speaks v1 and says what it needs', changed({ objective: { ...objective, specVersion: 'v0' as 'v1' } }), /specVersion "v1" of the objective of an algorithm/],
    ['makes a batch of what the policy sampled', batchOf(({ tokens }) => ({ tokens: tokens.map((token) => token + 1) })), /action 0 to be a token that the policy sampled, after what it had seen; found token \d+ after .* Token ids go in as they came out/],
    ['makes a batch of what the policy sampled', batchOf(({ actionIndex, columns }) => ({ actionIndex: actionIndex.map((t, a) => (a === 0 ? t - 1 : t)), columns })), /action 0 to be a token that the policy sampled/],
    ['makes a batch of what the policy sampled', batchOf(({ actionIndex }) => ({ actionIndex: actionIndex.slice().reverse() })), /actions that ascend, inside the batch/],
    ['makes a batch of what the policy sampled', batchOf(() => ({ actionIndex: new Int32Array(0), columns: {} })), /from 1 to \d+ actions, the sampled tokens; found 0/],
    ['makes a batch of what the policy sampled', batchOf(({ columns }) => ({ columns: { advantages: columns.advantages.slice(1) } })), /column "advantages" to be a Float32Array of \d+ numbers, one an action/],
    ['makes a batch of what the policy sampled', batchOf(({ columns }) => ({ columns: { advantages: columns.advantages.map(() => NaN) } })), /column "advantages" to be finite; found NaN at action 0/],
    ['makes a batch of what the policy sampled', batchOf(({ offsets }) => ({ offsets: offsets.map((v, s) => (s === 1 ? 0 : v)), actionIndex: Int32Array.of(0), columns: {} })), /action 0 to have a token before it; found token 0, the first of sequence 1/],
    ['makes a batch of what the policy sampled', batchOf(({ offsets }) => ({ prefixOf: new Int32Array(offsets.length - 1).fill(0) })), /`prefixOf\[0\]` to be -1, or a sequence that has no prefix of its own; found 0/],
    ['makes a batch of what the policy sampled', batchOf(() => ({ normalizer: { tokens: NaN, sequences: 1 } })), /`normalizer\.tokens` to be a count/],
    ['makes a batch of what the policy sampled', after(() => ({ metrics: { reward: NaN } })), /metric "reward" to be a finite number; found NaN/],
    ['makes a batch of what the policy sampled', after(({ advantages }) => ({ advantages: advantages!.slice(1) })), /the advantages to have a row a group and an entry a trajectory/],
    ['makes a batch that its objective can be evaluated on', changed({ objective: { ...objective, evaluate: (outputs, batch) => ({ ...objective.evaluate(outputs, batch), loss: NaN }) } }), /a finite loss; found NaN/],
    ['leaves out what nothing scored, in place of scoring it 0', changed({ experience: (groups, context) => experience(groups.map((group) => group.map((t) => ({ ...t, rewards: { right: reward(t) ?? 0 } }))), context) }), /advantage of a trajectory without a reward to be null, or 0; found 1\.\d+\. Null says that a reward does not apply/],
    ['goes without any reward', after(({ batch }, groups) => (groups.flat().every((t) => reward(t) === null) ? { batch, metrics: { reward: 0 / 0 } } : {})), /metric "reward" to be a finite number; found NaN/],
    ['does not depend on the order of the groups', after(({ advantages }) => ({ advantages: advantages!.map((row, g) => row.map((a) => (a === null ? null : a + g))) })), /the advantages of the groups in reverse order to be the same/],
    ['gives the same again', after(() => ({ metrics: { calls: calls++ } })), /the experience of another instance to be that of the first/],
    ['does not change the trajectories', after((_, groups) => (groups[0][0].tokens.fill(0), {})), /the trajectories as it was given .* samples\.jsonl/],
    ['asks for the reference only where it says that it needs one', changed({ experience: async (groups, context) => { const made = await experience(groups, context); await context.learner.forward(made.batch, ['logps'], { reference: true }); return made; } }), /no call for the reference, as `needsReference` is false; found one/],
    ['hands its signal on', changed({ experience: (groups, { signal: _, ...context }) => experience(groups, context) }), /every call of the learner to be given the signal; found a call without/],
    ['hands its signal on', changed({ experience: (groups, context) => experience(groups, context).catch(() => { throw new Error('it failed'); }) }), /reject with the code `aborted`; found the error "it failed"/],
  ])('fails "%s": %#', (check, subject, message) => expectViolation(checks[check], subject, message));
});
