import type { Metrics } from './learner';

/** The run that a tracker follows. */
export interface TrackedRun {
  /** Of the trainer, or of `runName`. */
  name: string;
  outputDir: string;
  /** What the run computes, as it stands in `config.json`: plain JSON. */
  config: unknown;
  totalSteps: number;
  /** Optimiser steps that were done before: above 0 when the run goes on. What a tracker holds beyond it is computed, and told, again. */
  step: number;
}

/** One record of a run's metrics. NaN: nothing applied. */
export interface TrackedMetrics {
  step: number;
  epoch: number;
  /** `train`: a logging step. `eval`: an evaluation, its names beginning with `eval_`. */
  kind: 'train' | 'eval';
  metrics: Metrics;
}

/** Something that the run has to say, once: a warning, or a note that explains. */
export interface Notice {
  /** Stable: what programs look for. */
  name: string;
  level: 'note' | 'warning';
  message: string;
  step: number;
  /** An alarm: a sign that the reward is being exploited; and what is done about it. */
  action?: 'warn' | 'stop' | 'rollback' | 'raise_beta';
}

/**
 * Where metrics go besides the run's own files: an event file, a service. Calls come one after another; what one throws ends the run.
 * One tracker follows one run at a time.
 */
export interface Tracker {
  specVersion: 'v1';
  name: string;
  start?(run: TrackedRun): void | Promise<void>;
  log(record: TrackedMetrics): void | Promise<void>;
  /** Completions with their rewards, as they stand in `samples.jsonl`. */
  samples?(step: number, samples: readonly Record<string, unknown>[]): void | Promise<void>;
  notice?(notice: Notice): void | Promise<void>;
  /** A checkpoint is about to be written: what was logged must survive the end of the process. */
  flush?(): void | Promise<void>;
  /** The run ended, was stopped, or failed. */
  end?(outcome: { step: number; error?: unknown }): void | Promise<void>;
}
