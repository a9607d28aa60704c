import { IncrementalText } from '@espalier/engine/local';
import type { Completion, ScoredTrajectory, TokenBatch } from '@espalier/spec';
import { ownSequences } from './split-batch';
import type { Json } from './trainer-state';

const thousandth = (value: number): number | null => (Number.isFinite(value) ? Math.round(value * 1000) / 1000 + 0 : null);

/**
 * What `samples.jsonl` says of a completion's tokens, a number a token: `logps` (the sampler's, nats), `token_lengths` (characters of the completion's text that
 * it stands for; a text that a stop string cut is shorter than their sum) and `advantages`. What is not known is left out.
 */
export function tokenFields(completion: Completion, known: { decode?: (tokens: Int32Array) => string; advantages?: readonly number[] }): { [field: string]: Json } {
  const { logps } = completion;
  const lengths = known.decode && tokenLengths(completion, known.decode);
  return {
    ...(lengths ? { token_lengths: lengths } : {}),
    ...(logps ? { logps: Array.from(logps, thousandth) } : {}),
    ...(known.advantages ? { advantages: known.advantages.map(thousandth) } : {}),
  };
}

/** Characters by token; a character of several tokens counts for its last. Null where the text is not that of its tokens one after another. */
function tokenLengths({ tokens, text }: Completion, decode: (tokens: Int32Array) => string): number[] | null {
  const pushed: number[] = [];
  const decoded = new IncrementalText(decode, pushed);
  let length = 0;
  const lengths = Array.from(tokens, (token) => {
    pushed.push(token);
    const before = length;
    length = decoded.update().length;
    return length - before;
  });
  const common = Math.min(decoded.text.length, text.length); // what a torn character leaves at the end is in the text alone
  return decoded.text.slice(0, common) === text.slice(0, common) ? lengths : null;
}

/**
 * The advantages of each trajectory's sampled tokens, where they differ by token: from the column `advantages` of a batch made of these groups. Undefined for a
 * trajectory that has one advantage for all, or none.
 */
export function tokenAdvantages(batch: TokenBatch, groups: readonly (readonly ScoredTrajectory[])[]): (readonly number[] | undefined)[][] {
  const { advantages } = batch.columns;
  if (!advantages) return groups.map((group) => group.map(() => undefined));
  const sequences = ownSequences(batch);
  let next = 0; // sequences stand in the order of the trajectories; those that are not trained on are left out
  let action = 0;
  return groups.map((group) =>
    group.map(({ tokens, trainable }) => {
      if (next >= sequences.length) return undefined;
      const [start, end] = [batch.offsets[sequences[next]], batch.offsets[sequences[next] + 1]];
      while (action < batch.actionIndex.length && batch.actionIndex[action] < start) action++;
      let stop = action;
      while (stop < batch.actionIndex.length && batch.actionIndex[stop] < end) stop++;
      const sampled = tokens.filter((_, t) => trainable[t] === 1);
      if (sampled.length !== stop - action || sampled.some((token, t) => token !== batch.tokens[batch.actionIndex[action + t]])) return undefined;
      const own = advantages.subarray(action, stop);
      next++;
      action = stop;
      return own.some((value) => value !== own[0]) ? Array.from(own) : undefined;
    }),
  );
}
