import type { Environment, Message } from '@espalier/spec';
import { factoryOf, type PartOrFactory } from '../check';

export interface EnvironmentOptions<Row = Record<string, unknown>> {
  /** Rows to begin episodes with: at least one. Default: one empty row. */
  rows?: readonly Row[];
  /** Seeds of the episodes. Default 1 and 2. */
  seeds?: readonly number[];
  /** Replies, by the messages seen last and the number of the step. Default: numbers as text, from 0. */
  reply?(observation: readonly Message[], step: number): Message;
  /** Steps in which every episode is done with these replies. Default 50. */
  maxSteps?: number;
  /** Milliseconds in which a call must settle once its signal has fired. Default 5000. */
  patience?: number;
}

export interface EnvironmentSubject<Row = Record<string, unknown>> extends Required<EnvironmentOptions<Row>> {
  create(): Promise<Environment<Row>>;
}

/**
 * What the checks of an environment run on.
 * @example
 * await environmentChecks['keeps instances apart'](environmentSubject(() => mine()));
 */
export function environmentSubject<Row = Record<string, unknown>>(environment: PartOrFactory<Environment<Row>>, options: EnvironmentOptions<Row> = {}): EnvironmentSubject<Row> {
  const { rows = [{} as Row], seeds = [1, 2], reply = (_, step) => ({ role: 'assistant', content: String(step) }), maxSteps = 50, patience = 5000 } = options;
  return { create: factoryOf(environment), rows, seeds, reply, maxSteps, patience };
}
