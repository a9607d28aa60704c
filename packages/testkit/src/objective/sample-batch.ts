import type { OutputName, Outputs, TokenBatch } from '@espalier/spec';
import { randomNumbers } from '../random-numbers';

/** Where an entry of a column stands. */
export interface ColumnPlace {
  /** Of the action, counted over the batch. */
  action: number;
  /** Of its sequence. */
  sequence: number;
  /** Of the action in its sequence. */
  position: number;
  /** Whether it is the last action of its sequence. */
  last: boolean;
  /** A number from the seed. */
  random(low: number, high: number): number;
}

export type ColumnRule = (place: ColumnPlace) => number;

export interface SampleBatchOptions {
  /** `groups`: three prompts, each with two or three completions; `pairs`: three prompts, each with a chosen and a rejected one; `rows`: sequences without a shared prefix. Default `groups`. */
  kind?: 'groups' | 'pairs' | 'rows';
  /** `completion`: all tokens of a completion; `last`: its last one; `all`: those of the prompts too. Default `completion`. */
  actions?: 'completion' | 'last' | 'all';
  /** A rule a column. */
  columns?: Readonly<Record<string, ColumnRule>>;
  /** Default 1. */
  seed?: number;
}

/** Columns that many objectives read. */
export const commonColumns = {
  weights: ({ action, random }) => (action % 4 === 1 ? 0 : random(0.2, 1.5)),
  advantages: ({ random }) => random(-1.5, 1.5),
  oldLogps: ({ random }) => random(-2.5, -0.3),
  refLogps: ({ random }) => random(-2.5, -0.3),
} as const satisfies Record<string, ColumnRule>;

/**
 * A ragged batch with shared prompts, of which the objective's checks are made.
 * @example
 * sampleBatch({ kind: 'pairs', columns: { refLogps: ({ random }) => random(-3, -0.5) } });
 */
export function sampleBatch(options: SampleBatchOptions = {}): TokenBatch {
  const { kind = 'groups', actions = 'completion', columns = commonColumns, seed = 1 } = options;
  const random = randomNumbers(seed);
  const tokens: number[] = [];
  const offsets = [0];
  const prefixOf: number[] = [];
  const actionIndex: number[] = [];
  const places: Omit<ColumnPlace, 'random'>[] = [];
  const pairs: number[] = [];
  const token = () => Math.floor(random(0, 50));
  const add = (length: number, prefix: number, acts: (t: number) => boolean) => {
    const sequence = prefixOf.length;
    const own = Array.from({ length }, (_, t) => t).filter(acts);
    own.forEach((t, position) => {
      places.push({ action: actionIndex.length, sequence, position, last: position === own.length - 1 });
      actionIndex.push(tokens.length + t);
    });
    for (let t = 0; t < length; t++) tokens.push(token());
    offsets.push(tokens.length);
    prefixOf.push(prefix);
    return sequence;
  };
  const completions = kind === 'pairs' ? [[3, 4], [1, 5], [4, 2]] : [[3, 1, 4], [2, 5], [4, 3, 2]];
  let sequences = 0;
  completions.forEach((lengths, p) => {
    const prompt = kind === 'rows' ? -1 : add(2 + p, -1, (t) => actions === 'all' && t > 0);
    const made = lengths.map((length) => {
      sequences++;
      const before = kind === 'rows' ? 2 : 0;
      return add(before + length, prompt, (t) => t >= before && (actions !== 'last' || t === before + length - 1));
    });
    if (kind === 'pairs') pairs.push(...made);
  });
  return {
    tokens: Int32Array.from(tokens),
    offsets: Int32Array.from(offsets),
    prefixOf: Int32Array.from(prefixOf),
    actionIndex: Int32Array.from(actionIndex),
    columns: Object.fromEntries(Object.entries(columns).map(([name, rule]) => [name, Float32Array.from(places, (place) => rule({ ...place, random }))])),
    ...(kind === 'pairs' ? { pairs: Int32Array.from(pairs) } : {}),
    normalizer: { tokens: actionIndex.length, sequences },
  };
}

const ranges: Record<OutputName, [number, number]> = { logps: [-2.6, -0.2], entropy: [0.2, 2.5], values: [-1, 1], scores: [-1.5, 1.5], sumSquares: [0.05, 0.9], teacherDivergence: [0.02, 1.2] };

/**
 * Outputs in the range that a learner gives, a function of the seed.
 * @example
 * objective.evaluate(sampleOutputs(objective.needs, batch), batch);
 */
export function sampleOutputs(names: readonly OutputName[], batch: TokenBatch, seed = 1): Outputs {
  return Object.fromEntries(names.map((name) => {
    const random = randomNumbers(seed * 31 + Object.keys(ranges).indexOf(name));
    return [name, Float32Array.from(batch.actionIndex, () => random(...(ranges[name] ?? [0.1, 1])))];
  }));
}
