import type { RowType } from '@espalier/data';
import type { Metrics } from '@espalier/spec';
import type { OfflineTrainerOptions } from '@espalier/trainer';
import type { Command } from 'commander';
import type { z } from 'zod';
import { trainCommand, type AnyTrainer } from './train-command';

interface OfflineCommandSpec {
  name: string;
  summary: string;
  config: z.ZodRawShape;
  /** Default: what the trainer finds out row by row. */
  accepted?: readonly RowType[];
  streams?: boolean;
  /** Options of a procedural task that the rows need. */
  task?: Record<string, unknown>;
  /** Flags besides those of the configuration. */
  more?: z.ZodRawShape;
  shown: readonly string[];
  notes: string;
  check(args: object): void;
  create(options: OfflineTrainerOptions & { args: object }, values: Record<string, unknown>): AnyTrainer & { evaluate(call?: { signal?: AbortSignal }): Promise<Metrics> };
}

/** `espalier sft`, `dpo`, …: a trainer on given rows. */
export const offlineCommand = (spec: OfflineCommandSpec): Command =>
  trainCommand({
    name: spec.name,
    summary: spec.summary,
    config: spec.config,
    ...(spec.more ? { more: spec.more } : {}),
    ...(spec.streams ? { streams: true } : {}),
    rows: { ...(spec.accepted ? { accepted: spec.accepted } : {}), ...(spec.task ? { more: spec.task } : {}) },
    shown: spec.shown,
    notes: spec.notes,
    check: spec.check,
    async create({ values, args, model, modelArgs, train, stream, evaluation, callbacks, trackers, signal }) {
      const trainer = spec.create({ model, trainDataset: stream ?? train, ...(evaluation ? { evalDataset: evaluation } : {}), callbacks, trackers, modelArgs, args, signal }, values);
      return { trainer, evaluate: () => trainer.evaluate({ signal }) };
    },
  });
