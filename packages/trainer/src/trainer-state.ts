import { EspalierError, type MetricSums } from '@espalier/spec';
import { snakeCase } from './arguments';
import type { PatienceState } from './early-stopping';
import type { GuardState } from './guard';
import type { MonitorState } from './monitor';

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json | undefined };

/** What a run needs besides weights and optimiser to go on exactly where it was: `trainer_state.json` of a checkpoint. */
export interface TrainerState {
  version: 1;
  /** Optimiser steps done. */
  step: number;
  /** Rounds of the loop done: of generation (online), of gradient accumulation (offline). Random numbers derive from (seed, round, row). */
  round: number;
  epoch: number;
  /** Tokens trained on so far. */
  numTokens: number;
  /** Position in the rows. */
  cursor: Json;
  /** Metrics of the logging window that is open. */
  window: MetricSums;
  /** Best value of `metricForBestModel`, and its step. */
  best?: { metric: string; value: number; step: number };
  /** Bytes of the run's files that belong to this step: what is beyond is cut off on resume. */
  offsets: { metrics: number; samples: number };
  /** An evaluation of this step was due and was interrupted. */
  pendingEvaluation?: boolean;
  /** What the warnings have been told from. */
  monitor?: MonitorState;
  /** Checkpoints that a rollback may go back to. */
  guard?: GuardState;
  /** Evaluations without an improvement, when the run may stop early. */
  patience?: PatienceState;
  /** State of an algorithm that has one (an adaptive KL coefficient). */
  algorithm?: Json;
  /** Configuration that the run was started with. */
  config: Json;
}

/** Fields that may change between a run and its continuation: they decide when things happen, not what is computed. */
const changeable = new Set([
  'outputDir', 'overwriteOutputDir', 'runName', 'resumeFromCheckpoint', 'maxSteps', 'numTrainEpochs', 'loggingStrategy', 'loggingSteps', 'loggingFirstStep', 'evalStrategy', 'evalSteps',
  'evalOnStart', 'saveStrategy', 'saveSteps', 'saveTotalLimit', 'metricForBestModel', 'greaterIsBetter', 'loadBestModelAtEnd', 'perDeviceEvalBatchSize', 'logCompletions', 'numCompletionsToPrint',
  'earlyStoppingPatience', 'earlyStoppingThreshold', 'reportTo', 'loggingDir', 'gradientCheckpointing', 'onAlarm', 'monitors', 'guardSteps',
]);

/**
 * Refuses to continue a run under another configuration than it was started with.
 * @throws EspalierError `bad_config` naming the field, its value then and now
 */
export function assertSameConfig(before: Json, now: Json, where: string, path = ''): void {
  if (isRecord(before) && isRecord(now)) {
    for (const key of new Set([...Object.keys(before), ...Object.keys(now)])) {
      if (!changeable.has(key)) assertSameConfig(before[key] ?? null, now[key] ?? null, where, path ? `${path}.${key}` : key);
    }
    return;
  }
  if (JSON.stringify(before) === JSON.stringify(now)) return;
  const field = snakeCase(path.replace(/^arguments\./, ''));
  throw new EspalierError('bad_config', `cannot resume ${where}: \`${field}\` was ${JSON.stringify(before)} and is now ${JSON.stringify(now)}`, {
    fix: 'resume with the value it had, or start a new run in another `output_dir`',
  });
}

function isRecord(value: Json): value is { readonly [key: string]: Json | undefined } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
