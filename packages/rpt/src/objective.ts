import type { RowType } from '@espalier/data';
import type { Metrics } from '@espalier/spec';
import type { DatasetInput, PlannedModel, RewardEvaluation, RunPlan, TrainResult } from '@espalier/trainer';
import type { z } from 'zod';
import type { RPTConfig } from './config';
import type { ComputeCount } from './control/compute-meter';
import type { RPTTrainerOptions } from './trainer';

/** What an objective is made from: the trainer's options, and its fields after validation. */
export interface ObjectiveSetup {
  options: RPTTrainerOptions & { trainDataset: DatasetInput };
  args: RPTConfig;
  /** The model is not to be opened, and nothing is to be written: a plan is all that is wanted. */
  onPaper?: boolean;
  /** Stands for the model where it does not exist yet. */
  planned?: PlannedModel;
  signal?: AbortSignal;
}

/** A run of one objective, ready to begin: what the trainer hands its calls to. */
export interface ObjectiveRun {
  train(call?: { resume?: boolean | string; signal?: AbortSignal }): Promise<TrainResult>;
  /** Metrics on the held-out rows, by the names under which they are logged (without `eval_`). */
  evaluate(call?: { dataset?: DatasetInput; samples?: number; signal?: AbortSignal; onProgress?: (done: number, total: number) => void }): Promise<Metrics>;
  /** The same with examples. Absent where nothing is sampled. */
  evaluateReward?(call?: { dataset?: DatasetInput; samples?: number; signal?: AbortSignal; onProgress?: (done: number, total: number) => void }): Promise<RewardEvaluation>;
  plan(model?: PlannedModel): Promise<RunPlan>;
  saveModel(dir: string, options?: { dtype?: 'fp32' | 'bf16' | 'fp16'; merge?: boolean }): Promise<void>;
  /** Absent where no average is kept. */
  useEma?(on: boolean): Promise<void>;
  /** Tokens that went through the model in training, for a control that may spend as much: asked when `control` is set. */
  compute?(result: TrainResult): ComputeCount;
  close(): Promise<void>;
}

/**
 * One way to pre-train by reinforcement, as a value. A further one is a folder of its own with its fields and its objective, named in `objectives.ts`
 * and in `config.ts`; or, from outside, a value given to the trainer as `objective`.
 */
export interface RPTObjective {
  /** What `objective` chooses it by: `next-token`. */
  name: string;
  /** One line for a help text. */
  summary: string;
  /** Its own fields of the configuration. Another objective's run refuses them. */
  fields: z.ZodRawShape;
  /** Whether an algorithm may be, or must be, given; and reward functions. */
  takes: { algorithm: 'required' | 'optional' | 'never'; rewards: 'required' | 'optional' | 'never' };
  /** Types of the rows that it trains on. */
  rows: readonly RowType[];
  /**
   * What no schema of single fields can tell. Called when the trainer is made, before anything is opened.
   * @throws EspalierError `bad_config`
   */
  check?(options: RPTTrainerOptions, args: RPTConfig): void;
  /** Makes the run: rows are read and prepared, models that it needs besides the policy are opened. Called once, by the first call that needs it. */
  create(setup: ObjectiveSetup): ObjectiveRun | Promise<ObjectiveRun>;
}

/**
 * An objective, as a value whose fields keep their types.
 * @example
 * const echo = defineRPTObjective({ name: 'echo', summary: '…', fields: {}, takes: { algorithm: 'required', rewards: 'never' }, rows: ['prompt_only'], create: (setup) => sampledRun(setup, { rewards: [echoReward] }) });
 */
export const defineRPTObjective = <const Objective extends RPTObjective>(objective: Objective): Objective => objective;
