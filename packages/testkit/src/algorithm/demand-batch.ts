import type { ScoredTrajectory, TokenBatch } from '@espalier/spec';
import { demand, show } from '../contract-violation';
import { sequencesOfActions } from '../objective/parts';

/**
 * Throws unless a batch is what its contract says: ragged, prefixes without prefixes, ascending actions that something precedes, columns of their length.
 * @example
 * demandBatch((await algorithm.experience(groups, context)).batch);
 */
export function demandBatch(batch: TokenBatch): void {
  const { tokens, offsets, prefixOf, actionIndex, columns, pairs, normalizer } = batch;
  const sequences = offsets.length - 1;
  const why = 'The learner reads past the batch, or computes other numbers than were meant.';
  demand(tokens instanceof Int32Array && offsets instanceof Int32Array && actionIndex instanceof Int32Array, '`tokens`, `offsets` and `actionIndex` as Int32Arrays', () => show([tokens, offsets, actionIndex]), why);
  demand(sequences >= 0 && offsets[0] === 0 && offsets[sequences] === tokens.length && offsets.every((offset, s) => s === 0 || offset >= offsets[s - 1]), `offsets that rise from 0 to ${tokens.length}`, () => show(offsets), why);
  if (prefixOf) {
    demand(prefixOf.length === sequences, `${sequences} entries of \`prefixOf\`, one a sequence`, `${prefixOf.length}`, why);
    prefixOf.forEach((j, s) => demand(j === -1 || (j >= 0 && j < sequences && j !== s && prefixOf[j] === -1), `\`prefixOf[${s}]\` to be -1, or a sequence that has no prefix of its own`, `${j}`, why));
  }
  const places = sequencesOfActions(batch);
  actionIndex.forEach((t, a) => {
    demand(t >= 0 && t < tokens.length && (a === 0 || t > actionIndex[a - 1]), 'actions that ascend, inside the batch', () => show(actionIndex), why);
    demand(t > offsets[places[a]] || (prefixOf?.[places[a]] ?? -1) >= 0, `action ${a} to have a token before it`, `token ${t}, the first of sequence ${places[a]}, which has no prefix`, 'Nothing predicts it, so that it has no log-prob.');
  });
  for (const [name, column] of Object.entries(columns)) {
    demand(column instanceof Float32Array && column.length === actionIndex.length, `column "${name}" to be a Float32Array of ${actionIndex.length} numbers, one an action`, () => show(column), 'A column that is out of step belongs to other tokens.');
    const bad = column.findIndex((value) => !Number.isFinite(value));
    demand(bad < 0, `column "${name}" to be finite`, () => `${column[bad]} at action ${bad}`, 'Bad input must never become a step of training.');
  }
  if (pairs) demand(pairs.length % 2 === 0 && pairs.every((s) => s >= 0 && s < sequences), `\`pairs\` to name two of ${sequences} sequences a pair`, () => show(pairs), why);
  for (const name of ['tokens', 'sequences'] as const) demand(Number.isFinite(normalizer?.[name]) && normalizer[name] >= 0, `\`normalizer.${name}\` to be a count`, () => show(normalizer ?? null), 'Means are taken over it.');
}

/**
 * Throws unless every action is a token that the policy sampled, after the very tokens that it had seen.
 * @example
 * demandSampledActions(batch, groups.flat());
 */
export function demandSampledActions(batch: TokenBatch, trajectories: readonly ScoredTrajectory[]): void {
  const sampled = new Map<string, ScoredTrajectory>();
  for (const trajectory of trajectories) for (let t = 0; t < trajectory.tokens.length; t++) if (trajectory.trainable[t]) sampled.set(trajectory.tokens.subarray(0, t + 1).join(), trajectory);
  const places = sequencesOfActions(batch);
  batch.actionIndex.forEach((t, a) => {
    const s = places[a];
    const prefix = batch.prefixOf?.[s] ?? -1;
    const before = prefix >= 0 ? batch.tokens.subarray(batch.offsets[prefix], batch.offsets[prefix + 1]) : new Int32Array(0);
    const seen = [...before, ...batch.tokens.subarray(batch.offsets[s], t + 1)];
    demand(sampled.has(seen.join()), `action ${a} to be a token that the policy sampled, after what it had seen`, () => `token ${batch.tokens[t]} after ${show(seen.slice(0, -1))}`, 'Token ids go in as they came out: prompts, tools and texts tokenised anew are not what the policy did.');
  });
}
