import type { Coupling, Outputs, TokenBatch } from '@espalier/spec';
import type { BatchPart } from './protocol';

/** A part of a batch that is computed at once, and where its actions stand in the whole. */
export interface MicroBatch {
  part: BatchPart;
  /** Index into the whole batch's `actionIndex` of each action of the part. */
  actions: Int32Array;
  /** Sequence of the whole batch that each sequence of the part is. */
  sequences: Int32Array;
  /** Of those, the ones that are here for their own sake and not just as a prefix: each is so in exactly one part. */
  own: ReadonlySet<number>;
  /** The objective says that no derivative depends on these actions. */
  inert: boolean;
}

/**
 * Cuts a batch into parts of at most `maxTokens` tokens, shared prefixes counted once in each part that needs them. What `coupling` holds together stays
 * together: a sequence for `token`, `sequence` and `batch` (whose objective is evaluated on the whole), both sequences for `pair`. A unit that alone
 * exceeds the budget gets a part of its own. Sequences without actions are left out unless others start from them.
 * @param inert [A] actions without a derivative: units of nothing else come last, in parts of their own
 */
export function microBatches(batch: TokenBatch, coupling: Coupling, maxTokens: number, inert?: Uint8Array): MicroBatch[] {
  const all = unitsOf(batch, coupling === 'pair' ? batch.pairs : undefined);
  const idle = new Set(inert ? all.filter((unit) => unit.every((s) => isInert(batch, s, inert))) : []);
  const units = [...all.filter((unit) => !idle.has(unit)), ...idle];
  const length = (s: number) => batch.offsets[s + 1] - batch.offsets[s];
  const prefix = (s: number) => (batch.prefixOf ? batch.prefixOf[s] : -1);
  const taken = new Uint8Array(batch.offsets.length - 1); // whose actions already belong to a part
  const parts: MicroBatch[] = [];
  let members = new Set<number>();
  let own = new Set<number>();
  let tokens = 0;
  let idling = false;
  const close = () => {
    if (members.size > 0) parts.push({ ...cut(batch, members, taken), own, inert: idling });
    members = new Set();
    own = new Set();
    tokens = 0;
  };
  for (const unit of units) {
    const cost = () => {
      const added = new Set(unit.flatMap((s) => (prefix(s) >= 0 ? [prefix(s), s] : [s])));
      return [...added].reduce((sum, s) => sum + (members.has(s) ? 0 : length(s)), 0);
    };
    if (members.size > 0 && (tokens + cost() > maxTokens || idling !== idle.has(unit))) close();
    idling = idle.has(unit);
    tokens += cost();
    for (const s of unit) {
      if (prefix(s) >= 0) members.add(prefix(s));
      members.add(s);
      own.add(s);
    }
  }
  close();
  return parts;
}

/** Sequences that may not be separated, in order of their first member; those that need no computing are left out. */
function unitsOf(batch: TokenBatch, pairs: Int32Array | undefined): number[][] {
  const sequences = batch.offsets.length - 1;
  const unit = new Int32Array(sequences).map((_, s) => s); // union-find
  const root = (s: number): number => (unit[s] === s ? s : (unit[s] = root(unit[s])));
  if (pairs) for (let p = 0; p < pairs.length; p += 2) unit[Math.max(root(pairs[p]), root(pairs[p + 1]))] = Math.min(root(pairs[p]), root(pairs[p + 1]));
  const acts = new Uint8Array(sequences);
  for (let a = 0, s = 0; a < batch.actionIndex.length; a++) {
    while (batch.offsets[s + 1] <= batch.actionIndex[a]) s++;
    acts[s] = 1;
  }
  if (pairs) for (const s of pairs) acts[s] = 1; // an objective on pairs wants both, even one without actions
  const units = new Map<number, number[]>();
  for (let s = 0; s < sequences; s++) if (acts[s]) units.set(root(s), [...(units.get(root(s)) ?? []), s]);
  return [...units.values()];
}

function cut(batch: TokenBatch, members: ReadonlySet<number>, taken: Uint8Array): Omit<MicroBatch, 'own' | 'inert'> {
  // Prefixes first, so that each stands before those that start from it.
  const prefixes = new Set([...members].map((s) => (batch.prefixOf ? batch.prefixOf[s] : -1)).filter((s) => s >= 0));
  const order = [...[...prefixes].sort((a, b) => a - b), ...[...members].filter((s) => !prefixes.has(s)).sort((a, b) => a - b)];
  const place = new Map(order.map((s, i) => [s, i]));
  const offsets = new Int32Array(order.length + 1);
  order.forEach((s, i) => (offsets[i + 1] = offsets[i] + batch.offsets[s + 1] - batch.offsets[s]));
  const tokens = new Int32Array(offsets[order.length]);
  const prefixOf = new Int32Array(order.length).fill(-1);
  const actionIndex: number[] = [];
  const actions: number[] = [];
  order.forEach((s, i) => {
    const [start, end] = [batch.offsets[s], batch.offsets[s + 1]];
    tokens.set(batch.tokens.subarray(start, end), offsets[i]);
    if (batch.prefixOf && batch.prefixOf[s] >= 0) prefixOf[i] = place.get(batch.prefixOf[s])!;
    if (taken[s]) return; // a prefix whose own actions went with an earlier part
    taken[s] = 1;
    for (let a = lowerBound(batch.actionIndex, start); a < batch.actionIndex.length && batch.actionIndex[a] < end; a++) {
      actions.push(a);
      actionIndex.push(offsets[i] + batch.actionIndex[a] - start);
    }
  });
  return { part: { tokens, offsets, prefixOf, actionIndex: new Int32Array(actionIndex) }, actions: new Int32Array(actions), sequences: new Int32Array(order) };
}

/** Whether all actions of a sequence are. */
function isInert(batch: TokenBatch, s: number, inert: Uint8Array): boolean {
  for (let a = lowerBound(batch.actionIndex, batch.offsets[s]); a < batch.actionIndex.length && batch.actionIndex[a] < batch.offsets[s + 1]; a++) if (!inert[a]) return false;
  return true;
}

/** First index whose value is at least `value`, in an ascending array. */
function lowerBound(values: Int32Array, value: number): number {
  let [low, high] = [0, values.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (values[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The micro-batch as an objective sees it: columns sliced, pairs renumbered, the normalizer that of the whole step. */
export function objectiveBatch(batch: TokenBatch, micro: MicroBatch): TokenBatch {
  const place = new Map(Array.from(micro.sequences, (s, i) => [s, i]));
  const pairs: number[] = [];
  if (batch.pairs)
    for (let p = 0; p < batch.pairs.length; p += 2) {
      const [chosen, rejected] = [batch.pairs[p], batch.pairs[p + 1]];
      if (micro.own.has(chosen) && micro.own.has(rejected)) pairs.push(place.get(chosen)!, place.get(rejected)!);
    }
  return {
    ...micro.part,
    columns: Object.fromEntries(Object.entries(batch.columns).map(([name, column]) => [name, gather(column, micro.actions)])),
    ...(batch.pairs ? { pairs: new Int32Array(pairs) } : {}),
    normalizer: batch.normalizer,
  };
}

/** `values[index[i]]` for each `i`. */
export function gather(values: Float32Array, index: Int32Array): Float32Array {
  const gathered = new Float32Array(index.length);
  for (let i = 0; i < index.length; i++) gathered[i] = values[index[i]];
  return gathered;
}

/** Puts a part's outputs where they belong in the whole batch's. */
export function scatterOutputs(whole: Outputs, part: Outputs, actions: Int32Array, length: number): void {
  for (const [name, values] of Object.entries(part) as [keyof Outputs, Float32Array][]) {
    const target = (whole[name] ??= new Float32Array(length));
    for (let i = 0; i < actions.length; i++) target[actions[i]] = values[i];
  }
}
