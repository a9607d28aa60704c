import { factoryOf, type PartOrFactory } from '../check';
import type { EnvironmentLike, EnvironmentTurn } from './environment';

export interface EnvironmentOptions<Row = Record<string, unknown>, Turn extends EnvironmentTurn = EnvironmentTurn> {
  /** Rows to begin episodes with: at least one. Default: one empty row. */
  rows?: readonly Row[];
  /** Seeds of the episodes. Default 1 and 2. */
  seeds?: readonly number[];
  /** Replies, by the observation and the number of the step. Default: numbers as text, from 0. */
  reply?(observation: Turn, step: number): Turn;
  /** Steps in which every episode is done with these replies. Default 50. */
  maxSteps?: number;
}

export interface EnvironmentSubject<Row = Record<string, unknown>, Turn extends EnvironmentTurn = EnvironmentTurn> extends Required<EnvironmentOptions<Row, Turn>> {
  create(): Promise<EnvironmentLike<Row, Turn>>;
}

/**
 * What the checks of an environment run on.
 * @example
 * await environmentChecks['has reset and step'](environmentSubject(() => mine()));
 */
export function environmentSubject<Row = Record<string, unknown>, Turn extends EnvironmentTurn = EnvironmentTurn>(environment: PartOrFactory<EnvironmentLike<Row, Turn>>, options: EnvironmentOptions<Row, Turn> = {}): EnvironmentSubject<Row, Turn> {
  const { rows = [{} as Row], seeds = [1, 2], reply = (_, step) => ({ role: 'assistant', content: String(step) }) as unknown as Turn, maxSteps = 50 } = options;
  return { create: factoryOf(environment), rows, seeds, reply, maxSteps };
}
