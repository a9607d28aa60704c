import type { Metrics, Notice } from '@espalier/spec';

export interface TrainerProgress {
  /** Optimiser steps done, and in all. */
  step: number;
  totalSteps: number;
  epoch: number;
  numTokens: number;
  outputDir: string;
}

/** What a callback may ask of the run. It is done after the callbacks of the step. */
export interface TrainerControl {
  /** End after this step, with a checkpoint, as if it had been the last. */
  stop(): void;
  save(): void;
  evaluate(): void;
}

/** Hooks of a run. Each may be asynchronous; the run waits for it. What one throws ends the run. */
export interface TrainerCallback {
  onTrainBegin?(progress: TrainerProgress, control: TrainerControl): void | Promise<void>;
  /** After every optimiser step. `metrics` are those of the step alone: `loss`, `grad_norm`, `learning_rate`, the objective's own. */
  onStep?(progress: TrainerProgress, metrics: Metrics, control: TrainerControl): void | Promise<void>;
  /** With what was written to `metrics.jsonl`. */
  onLog?(progress: TrainerProgress, metrics: Metrics, control: TrainerControl): void | Promise<void>;
  onEvaluate?(progress: TrainerProgress, metrics: Metrics, control: TrainerControl): void | Promise<void>;
  onSave?(progress: TrainerProgress, checkpoint: string, control: TrainerControl): void | Promise<void>;
  /** A warning, or a note that explains: each name once a run. */
  onNotice?(progress: TrainerProgress, notice: Notice, control: TrainerControl): void | Promise<void>;
  /** When the run ended, was stopped, or failed. */
  onEnd?(progress: TrainerProgress, outcome: { error?: unknown }): void | Promise<void>;
}
