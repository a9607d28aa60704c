import type { Objective, Outputs, TokenBatch } from '@espalier/spec';
import { factoryOf, type PartOrFactory } from '../check';
import { commonColumns, sampleBatch, sampleOutputs, type ColumnRule, type SampleBatchOptions } from './sample-batch';

export interface ObjectiveOptions {
  /** The batch that it is evaluated on. Default: `sampleBatch` with pairs for coupling `pair`, else groups. */
  batch?: TokenBatch;
  /** Of the default batch: rules for its columns, besides `weights`, `advantages`, `oldLogps`, `refLogps`; null leaves one of those out. */
  columns?: Readonly<Record<string, ColumnRule | null>>;
  /** Of the default batch: which tokens are actions. */
  actions?: SampleBatchOptions['actions'];
  /** Of the default batch: `pairs` for an objective on pairs whose coupling is `batch`. */
  kind?: SampleBatchOptions['kind'];
  /** Outputs to evaluate at. Default: numbers in the range that a learner gives. */
  outputs?: Outputs;
  /**
   * For a loss that takes some function of the outputs as a constant (a stop-gradient: REINFORCE, dynamic fine-tuning, a clipped weight): the loss at `outputs` with
   * those constants taken at `anchor`. Its derivative at `outputs` = `anchor` is what the objective gives. Default: the loss itself.
   */
  surrogate?(outputs: Outputs, anchor: Outputs, batch: TokenBatch): number;
  /** Column whose entry 0 says that an action does not count. Default: `weights` where the objective reads it; null: none. */
  weightColumn?: string | null;
  /** Metrics that do not add up from parts (extremes, say). */
  wholeMetrics?: readonly string[];
  /** Largest error of a derivative, relative to the larger of it and a tenth of the largest one of its output. Default 1e-4; an objective that computes in fp32 wants 1e-2. */
  tolerance?: number;
}

export interface ObjectiveSubject {
  create(): Promise<Objective>;
  /** The objective with what it is evaluated on, fresh each time. */
  open(): Promise<{ objective: Objective; batch: TokenBatch; outputs: Outputs }>;
  surrogate: ObjectiveOptions['surrogate'];
  weightColumn: string | null | undefined;
  wholeMetrics: ReadonlySet<string>;
  tolerance: number;
}

/**
 * What the checks of an objective run on.
 * @example
 * await objectiveChecks['gives derivatives that finite differences confirm'](objectiveSubject(mine));
 */
export function objectiveSubject(objective: PartOrFactory<Objective>, options: ObjectiveOptions = {}): ObjectiveSubject {
  const create = factoryOf(objective);
  return {
    create,
    async open() {
      const made = await create();
      const needs = Array.isArray(made.needs) ? made.needs : [];
      const rules = Object.entries({ ...commonColumns, ...options.columns }).filter((entry): entry is [string, ColumnRule] => entry[1] !== null);
      const kind = options.kind ?? (made.coupling === 'pair' ? 'pairs' : 'groups');
      const batch = options.batch ? structuredClone(options.batch) : sampleBatch({ kind, columns: Object.fromEntries(rules), ...(options.actions ? { actions: options.actions } : {}) });
      return { objective: made, batch, outputs: options.outputs ? structuredClone(options.outputs) : sampleOutputs(needs, batch) };
    },
    surrogate: options.surrogate,
    weightColumn: options.weightColumn,
    wholeMetrics: new Set(options.wholeMetrics),
    tolerance: options.tolerance ?? 1e-4,
  };
}
