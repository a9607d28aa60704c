import type { Learner } from '@espalier/spec';

const counters = new WeakMap<Learner, number>();

/** Numbers the calls to a learner one after another, over all runs that use it: its idempotency key. */
export function nextSequenceNumber(learner: Learner): number {
  const seq = (counters.get(learner) ?? 0) + 1;
  counters.set(learner, seq);
  return seq;
}
