import type { Coupling, Outputs, TokenBatch } from '@espalier/spec';

/** A part of a batch, and where its actions stand in the whole. */
export interface BatchPart {
  batch: TokenBatch;
  actions: readonly number[];
}

const lengthOf = (batch: TokenBatch, s: number) => batch.offsets[s + 1] - batch.offsets[s];
const prefix = (batch: TokenBatch, s: number) => batch.prefixOf?.[s] ?? -1;

/** The sequence of each action. [A] */
export function sequencesOfActions(batch: TokenBatch): number[] {
  let s = 0;
  return Array.from(batch.actionIndex, (t) => {
    while (batch.offsets[s + 1] <= t) s++;
    return s;
  });
}

/**
 * The sequences in the given order, prefixes of their own accord before those that start from them, with the actions that `keep` lets through and the
 * normalizer of the whole: a part of an optimiser step, or the step in another order.
 */
export function selectFrom(batch: TokenBatch, sequences: readonly number[], keep: (action: number, sequence: number) => boolean): BatchPart {
  const order: number[] = [];
  const place = new Map<number, number>();
  const add = (s: number) => {
    if (place.has(s)) return;
    if (prefix(batch, s) >= 0) add(prefix(batch, s));
    place.set(s, order.length);
    order.push(s);
  };
  sequences.forEach(add);
  const offsets = new Int32Array(order.length + 1);
  order.forEach((s, i) => (offsets[i + 1] = offsets[i] + lengthOf(batch, s)));
  const tokens = new Int32Array(offsets[order.length]);
  const ofSequence = new Map<number, number[]>();
  sequencesOfActions(batch).forEach((s, a) => ofSequence.set(s, [...(ofSequence.get(s) ?? []), a]));
  const actions: number[] = [];
  const actionIndex: number[] = [];
  order.forEach((s, i) => {
    tokens.set(batch.tokens.subarray(batch.offsets[s], batch.offsets[s + 1]), offsets[i]);
    for (const a of ofSequence.get(s) ?? []) {
      if (!keep(a, s)) continue;
      actions.push(a);
      actionIndex.push(offsets[i] + batch.actionIndex[a] - batch.offsets[s]);
    }
  });
  const pairs: number[] = [];
  const wanted = new Set(sequences);
  for (let p = 0; batch.pairs && p < batch.pairs.length; p += 2) if (wanted.has(batch.pairs[p]) && wanted.has(batch.pairs[p + 1])) pairs.push(place.get(batch.pairs[p])!, place.get(batch.pairs[p + 1])!);
  return {
    actions,
    batch: {
      tokens, offsets,
      ...(batch.prefixOf ? { prefixOf: Int32Array.from(order, (s) => (prefix(batch, s) >= 0 ? place.get(prefix(batch, s))! : -1)) } : {}),
      actionIndex: Int32Array.from(actionIndex),
      columns: Object.fromEntries(Object.entries(batch.columns).map(([name, column]) => [name, Float32Array.from(actions, (a) => column[a])])),
      ...(batch.pairs ? { pairs: Int32Array.from(pairs) } : {}),
      normalizer: { ...batch.normalizer },
    },
  };
}

/** The outputs of a part's actions. */
export const outputsOf = (outputs: Outputs, part: BatchPart): Outputs => Object.fromEntries(Object.entries(outputs).map(([name, values]) => [name, Float32Array.from(part.actions, (a) => values[a])]));

/**
 * A batch in as many parts as its coupling allows: single tokens, sequences, pairs, or the whole. Each action is in one part: those of a shared prompt go with the
 * first part that holds it.
 * @example
 * const loss = splitBatch(batch, 'sequence').reduce((sum, part) => sum + objective.evaluate(outputsOf(outputs, part), part.batch).loss, 0);
 */
export function splitBatch(batch: TokenBatch, coupling: Coupling): BatchPart[] {
  const count = batch.offsets.length - 1;
  const shared = new Set(Array.from({ length: count }, (_, s) => prefix(batch, s)).filter((s) => s >= 0));
  const sequences = Array.from({ length: count }, (_, s) => s);
  if (coupling === 'batch') return [selectFrom(batch, sequences, () => true)];
  const taken = new Set<number>();
  const take = (a: number) => !taken.has(a) && Boolean(taken.add(a));
  if (coupling === 'token') {
    // Every third action of each sequence: parts tear sequences, and none is a run of neighbours.
    const parts = sequences.filter((s) => !shared.has(s)).flatMap((s) => [0, 1, 2].map((k) => selectFrom(batch, [s], (a) => a % 3 === k && take(a))));
    return parts.filter(({ actions }) => actions.length > 0);
  }
  const paired = coupling === 'pair' && batch.pairs ? Array.from({ length: batch.pairs.length / 2 }, (_, p) => [batch.pairs![2 * p], batch.pairs![2 * p + 1]]) : [];
  const inPair = new Set(paired.flat());
  const units = [...paired, ...sequences.filter((s) => !inPair.has(s) && !shared.has(s)).map((s) => [s])];
  return units.map((unit) => selectFrom(batch, unit, take));
}
