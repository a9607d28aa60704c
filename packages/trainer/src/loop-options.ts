import type { Learner, Metrics, Notice, Tracker } from '@espalier/spec';
import type { TrainingArguments } from './arguments';
import type { TrainerCallback } from './callbacks';
import type { Alarm } from './monitor';
import type { MonitorOptions } from './monitor-options';
import type { OwnedLearner } from './owned-learners';
import type { RoundSource } from './round';
import type { Json } from './trainer-state';

export interface LoopOptions {
  /** Names the folder of the run when `outputDir` is not given. */
  name: string;
  learner: Learner;
  /** Learners that are trained beside it. */
  learners?: readonly OwnedLearner[];
  source: RoundSource;
  args: TrainingArguments;
  totalSteps: number;
  config: Json;
  /** Held-out metrics, without the prefix `eval_`. */
  evaluate?: (context: { step: number; signal?: AbortSignal }) => Promise<Metrics>;
  /** Default of `metricForBestModel`. */
  bestMetric: string;
  callbacks?: readonly TrainerCallback[];
  /** Where metrics go besides the run's folder; `reportTo` may name more. */
  trackers?: readonly Tracker[];
  /** What alarms do. Default: they are told. */
  monitors?: MonitorOptions;
  /** Makes the KL term weigh more; says how much it weighs now, or null where there is none. */
  raiseBeta?: () => number | null;
  /** What is to be said when the run begins: each name once. */
  notices?: readonly Omit<Notice, 'step'>[];
  signal?: AbortSignal;
}

export interface TrainResult {
  outputDir: string;
  /** Optimiser steps done in all, those before a resume included. */
  step: number;
  /** Of the last record logged. */
  metrics: Metrics;
  /** Of the last evaluation; empty when there was none. */
  evalMetrics: Metrics;
  /** The checkpoint that the run ends with: the newest, or the best with `loadBestModelAtEnd`; null when none was written. */
  checkpoint: string | null;
  best: { metric: string; value: number; step: number } | null;
  /** A callback, or an alarm, ended the run early. */
  stopped: boolean;
  /** Signs that the reward was exploited, in this process: see `onAlarm`. */
  alarms: readonly Alarm[];
  /** An alarm took the weights back to those of step `to`: `checkpoint` is theirs. */
  rolledBack: { from: number; to: number; alarm: string } | null;
  trainSeconds: number;
}
