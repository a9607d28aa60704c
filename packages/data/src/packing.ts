import { EspalierError } from '@espalier/spec';

export const packingStrategies = ['bfd', 'bfd_split', 'wrapped'] as const;
/** TRL's `packing_strategy`. */
export type PackingStrategy = (typeof packingStrategies)[number];

/** A part of a sequence: tokens `start` .. `end` of sequence `item`. */
export interface Segment {
  item: number;
  start: number;
  end: number;
}

/**
 * Divides sequences among rows of at most `maxLength` tokens, as TRL 1.16 packs them, row for row and in the same order (best-fit decreasing: 2404.10830).
 *
 * - `bfd`: every sequence whole, cut to `maxLength`. A row's segments are documents of their own.
 * - `bfd_split`: a longer sequence becomes several documents, of which nothing is lost.
 * - `wrapped`: all sequences one after another, cut every `maxLength` tokens: a row's segments follow on one another as one document.
 *
 * Empty sequences are left out.
 *
 * @param lengths tokens of each sequence
 * @throws EspalierError `bad_config` for a `maxLength` below 1 or a strategy that does not exist
 * @example
 * packSequences([3, 4, 1], 4, 'bfd'); // [[{ item: 1, start: 0, end: 4 }], [{ item: 0, … }, { item: 2, … }]]
 */
export function packSequences(lengths: readonly number[], maxLength: number, strategy: PackingStrategy): Segment[][] {
  if (!(Number.isInteger(maxLength) && maxLength >= 1)) throw new EspalierError('bad_config', `\`max_length\` ${maxLength}: packing needs a length to fill`, { fix: 'an integer from 1' });
  if (strategy === 'wrapped') return wrap(lengths, maxLength);
  if (strategy === 'bfd') return bestFit(lengths.map((length, item) => ({ item, start: 0, end: Math.min(length, maxLength) })), maxLength);
  if (strategy === 'bfd_split') return bestFit(lengths.flatMap((length, item) => Array.from({ length: Math.ceil(length / maxLength) }, (_, i) => ({ item, start: i * maxLength, end: Math.min((i + 1) * maxLength, length) }))), maxLength);
  throw new EspalierError('bad_config', `\`packing_strategy\` ${JSON.stringify(strategy)} is unknown`, { fix: `one of ${packingStrategies.join(', ')}` });
}

function wrap(lengths: readonly number[], maxLength: number): Segment[][] {
  const rows: Segment[][] = [];
  let space = 0;
  lengths.forEach((length, item) => {
    for (let start = 0; start < length; ) {
      if (space === 0) {
        rows.push([]);
        space = maxLength;
      }
      const end = Math.min(length, start + space);
      rows[rows.length - 1].push({ item, start, end });
      space -= end - start;
      start = end;
    }
  });
  return rows;
}

/** Longest first (ties as they come), each into the row with the least space that takes it, the oldest such row first. */
function bestFit(segments: readonly Segment[], maxLength: number): Segment[][] {
  const length = ({ start, end }: Segment) => end - start;
  const order = segments.filter((segment) => length(segment) > 0).sort((a, b) => length(b) - length(a));
  const rows: Segment[][] = [];
  const spaces = new SpaceTree(maxLength);
  spaces.add(maxLength);
  const rowsWith = new Map<number, Segment[][]>(); // by space left
  for (const segment of order) {
    const space = spaces.atLeast(length(segment));
    let row: Segment[];
    if (space < maxLength) {
      const waiting = rowsWith.get(space)!;
      row = waiting.shift()!;
      if (waiting.length === 0) {
        rowsWith.delete(space);
        spaces.remove(space);
      }
    } else rows.push((row = []));
    row.push(segment);
    const left = space - length(segment);
    if (left === 0) continue;
    rowsWith.set(left, [...(rowsWith.get(left) ?? []), row]);
    spaces.add(left);
  }
  return rows;
}

/** The sizes of space that rows have left: finds the least that is enough in log(maxLength) steps. */
class SpaceTree {
  private readonly leaves: number;
  private readonly largest: Int32Array; // in each node's subtree

  constructor(maxLength: number) {
    this.leaves = 2 ** Math.ceil(Math.log2(Math.max(maxLength, 1)));
    this.largest = new Int32Array(2 * this.leaves);
  }

  add(space: number): void {
    this.set(space, space);
  }

  remove(space: number): void {
    this.set(space, 0);
  }

  atLeast(space: number): number {
    let node = 1;
    while (node < this.leaves) node = 2 * node + (this.largest[2 * node] >= space ? 0 : 1);
    return this.largest[node];
  }

  private set(space: number, value: number): void {
    let node = this.leaves + space - 1;
    this.largest[node] = value;
    for (node >>= 1; node >= 1; node >>= 1) this.largest[node] = Math.max(this.largest[2 * node], this.largest[2 * node + 1]);
  }
}
