import { actionRows, batchNormalizer } from '@espalier/objectives';
import type { TokenBatch } from '@espalier/spec';

/** The sequences of a batch that stand for themselves: those that are not just the prefix of others. */
export function ownSequences(batch: TokenBatch): number[] {
  return [...actionRows(batch).sequences];
}

/**
 * The part of a batch that holds the given sequences, with the prefixes that they start from. Order is kept; pairs are kept where both
 * sequences are; the normalizer is that of the part: whoever accumulates parts into one step sets it to the step's.
 */
export function selectSequences(batch: TokenBatch, sequences: readonly number[]): TokenBatch {
  const wanted = new Set(sequences);
  const members = new Set(sequences);
  for (const s of sequences) if (batch.prefixOf && batch.prefixOf[s] >= 0) members.add(batch.prefixOf[s]);
  const order = [...members].sort((a, b) => a - b);
  const place = new Map(order.map((s, i) => [s, i]));

  const offsets = new Int32Array(order.length + 1);
  order.forEach((s, i) => (offsets[i + 1] = offsets[i] + batch.offsets[s + 1] - batch.offsets[s]));
  const tokens = new Int32Array(offsets[order.length]);
  const actions: number[] = []; // index into the whole batch's actionIndex
  const actionIndex: number[] = [];
  order.forEach((s, i) => {
    const start = batch.offsets[s];
    const end = batch.offsets[s + 1];
    tokens.set(batch.tokens.subarray(start, end), offsets[i]);
    if (!wanted.has(s)) return; // there as a prefix only: its own actions belong to another part
    for (let a = lowerBound(batch.actionIndex, start); a < batch.actionIndex.length && batch.actionIndex[a] < end; a++) {
      actions.push(a);
      actionIndex.push(offsets[i] + batch.actionIndex[a] - start);
    }
  });
  const pairs: number[] = [];
  for (let p = 0; batch.pairs && p < batch.pairs.length; p += 2) {
    const chosen = place.get(batch.pairs[p]);
    const rejected = place.get(batch.pairs[p + 1]);
    if (chosen !== undefined && rejected !== undefined) pairs.push(chosen, rejected);
  }
  const part: TokenBatch = {
    tokens,
    offsets,
    prefixOf: batch.prefixOf && Int32Array.from(order, (s) => (batch.prefixOf![s] >= 0 ? place.get(batch.prefixOf![s])! : -1)),
    actionIndex: Int32Array.from(actionIndex),
    columns: Object.fromEntries(Object.entries(batch.columns).map(([name, column]) => [name, Float32Array.from(actions, (a) => column[a])])),
    ...(batch.pairs ? { pairs: Int32Array.from(pairs) } : {}),
    normalizer: { tokens: 0, sequences: 0 },
  };
  part.normalizer = batchNormalizer(part);
  return part;
}

/** The same batches with the normalizer of all of them together: micro-batches of one optimiser step. */
export function asOneStep(batches: readonly TokenBatch[], total?: TokenBatch['normalizer']): TokenBatch[] {
  const normalizer = total ?? batches.reduce((sum, { normalizer: n }) => ({ tokens: sum.tokens + n.tokens, sequences: sum.sequences + n.sequences }), { tokens: 0, sequences: 0 });
  return batches.map((batch) => ({ ...batch, normalizer }));
}

/** First index whose value is at least `value`, in an ascending array. */
function lowerBound(values: Int32Array, value: number): number {
  let low = 0;
  let high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
