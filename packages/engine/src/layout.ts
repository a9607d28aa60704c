import type { BatchPart } from './protocol';

/** Position of each token, counted from the start of its prefix. */
export function positionsOf(part: Pick<BatchPart, 'tokens' | 'offsets' | 'prefixOf'>): Int32Array {
  const positions = new Int32Array(part.tokens.length); // [T]
  for (let s = 0; s + 1 < part.offsets.length; s++) {
    const prefix = part.prefixOf[s];
    const start = prefix >= 0 ? part.offsets[prefix + 1] - part.offsets[prefix] : 0;
    for (let t = part.offsets[s]; t < part.offsets[s + 1]; t++) positions[t] = start + t - part.offsets[s];
  }
  return positions;
}

/** For each action the row of the hidden states that predicts it: the token before it, which for the first token after a prefix is the prefix's last. */
export function predictorsOf(part: BatchPart): Int32Array {
  const predictors = new Int32Array(part.actionIndex.length); // [A]
  for (let a = 0, s = 0; a < predictors.length; a++) {
    const t = part.actionIndex[a];
    while (part.offsets[s + 1] <= t) s++;
    predictors[a] = t > part.offsets[s] ? t - 1 : part.offsets[part.prefixOf[s] + 1] - 1;
  }
  return predictors;
}

/** The rows of a part that a pass computes. */
export interface ComputedRows {
  tokens: Int32Array; // [T]
  positions: Int32Array; // [T]
  offsets: Int32Array; // [S + 1]
  prefixOf: Int32Array; // [S]
  /** Row of the hidden state that predicts each action `[A]`. */
  predictors: Int32Array;
  /** Row of each action itself `[A]`, where those are asked for. */
  actions: Int32Array | null;
}

/**
 * Leaves out the tokens at the end of a sequence that nothing depends on: its last one, which predicts nothing, and what follows the last action. Prefixes stay whole.
 * @param ofActions whether the hidden states of the actions themselves are wanted, not just of the tokens before them
 */
export function computedRows(part: BatchPart, ofActions: boolean): ComputedRows {
  const sequences = part.prefixOf.length;
  const predictors = predictorsOf(part);
  const ends = part.offsets.slice(0, sequences); // first row of each sequence that is not wanted
  let s = 0;
  const want = (row: number) => {
    while (part.offsets[s + 1] <= row) s++;
    while (part.offsets[s] > row) s--;
    ends[s] = Math.max(ends[s], row + 1);
  };
  predictors.forEach(want);
  if (ofActions) part.actionIndex.forEach(want);
  part.prefixOf.forEach((prefix) => {
    if (prefix >= 0) ends[prefix] = part.offsets[prefix + 1];
  });
  const offsets = new Int32Array(sequences + 1);
  const placeOf = new Int32Array(part.tokens.length);
  const wanted: number[] = [];
  for (let s = 0; s < sequences; s++) {
    for (let t = part.offsets[s]; t < ends[s]; t++) placeOf[t] = wanted.push(t) - 1;
    offsets[s + 1] = wanted.length;
  }
  const positions = positionsOf(part);
  const moved = (rows: Int32Array) => rows.map((row) => placeOf[row]);
  return {
    tokens: Int32Array.from(wanted, (t) => part.tokens[t]),
    positions: Int32Array.from(wanted, (t) => positions[t]),
    offsets,
    prefixOf: part.prefixOf,
    predictors: moved(predictors),
    actions: ofActions ? moved(part.actionIndex) : null,
  };
}
