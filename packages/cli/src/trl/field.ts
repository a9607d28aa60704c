/**
 * What becomes of one of TRL's fields.
 *
 * - `honoured`: it does here what it does there.
 * - `ignored`: it says how PyTorch, its processes or its services run. What is learnt is the same without it, and a notice says so.
 * - `refused`: without it something else would be learnt, or something that was asked for would be missing. The command ends with status 2.
 */
export type Verdict = 'honoured' | 'ignored' | 'refused';

/** Fields that make sense together alone: which rows, which model, which adapters, which rewards. */
export type Part = 'rows' | 'model' | 'adapters' | 'rewards';

export interface ReadContext {
  /** Every key of the file, as it stands there. */
  given: Readonly<Record<string, unknown>>;
  /** A notice about this field. */
  note(text: string): void;
  /** Refuses this value. */
  refuse(why: string, fix: string): never;
}

export interface TrlField {
  verdict: Verdict;
  /** Honoured: what differs, where something does. Ignored: why nothing is lost. Refused: why. */
  note?: string;
  /** Refused: what would do. */
  fix?: string;
  /** Ignored or refused: values that ask for nothing, TRL's default among them. `null` always is one. */
  inert?: readonly unknown[];
  /** Honoured: the field's name here, in camelCase, where it is another. */
  as?: string;
  /** Honoured: read together with others. */
  part?: Part;
  /** Honoured: TRL's value as ours; undefined leaves the field out. */
  read?(value: unknown, context: ReadContext): unknown;
}

export type TrlFields = Readonly<Record<string, TrlField>>;

type Rest = Omit<TrlField, 'verdict' | 'note' | 'fix' | 'inert'>;

export const honoured = (note?: string, rest: Rest = {}): TrlField => ({ verdict: 'honoured', ...(note ? { note } : {}), ...rest });
export const ignored = (note: string, ...inert: unknown[]): TrlField => ({ verdict: 'ignored', note, inert });
export const refused = (note: string, fix: string, ...inert: unknown[]): TrlField => ({ verdict: 'refused', note, fix, inert });

/** The same entry for several names. */
export const each = (names: string, entry: TrlField): TrlFields => Object.fromEntries(names.split(' ').map((name) => [name, entry]));

/** Whether a value asks for nothing. */
export function isInert({ inert = [] }: TrlField, value: unknown): boolean {
  return value === null || inert.some((one) => JSON.stringify(one) === JSON.stringify(value)) || (typeof value === 'string' && value.trim() === '');
}
