import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { EspalierError, type Metrics } from '@espalier/spec';
import { writeFileDurably } from '@espalier/spec/files';
import { OfflineTrainer, openDataset, type DatasetInput, type ModelArgumentsInput, type OfflineTrainerParts, type TrainResult } from '@espalier/trainer';
import type { RPTConfig } from '../config';
import { solutionTokenizer } from '../precision/objective';
import { precisionObjective } from '../precision/precision-objective';
import { packSolutions, type Solution } from '../precision/solutions';
import type { RPTTrainerOptions } from '../trainer';
import { computeUnits, type ComputeCount } from './compute-meter';
import { controlExamples } from './control-rows';

export interface MatchedControlOptions {
  /** What the run began with. */
  model: RPTTrainerOptions['model'];
  /** Its rows. */
  trainDataset: DatasetInput;
  /** What the run spent: the control spends as much, in tokens forward (a backward pass counts as two). */
  compute: ComputeCount;
  /** The run's arguments: batch size, schedule, seed. */
  args: RPTConfig;
  /** Folder of the control's run. Its last weights are in `model`. */
  outputDir: string;
  modelArgs?: ModelArgumentsInput;
  inline?: boolean;
  resume?: boolean;
  signal?: AbortSignal;
}

export interface MatchedControl {
  result: TrainResult;
  /** A folder that holds the control's model, whole. */
  model: string;
  compute: ComputeCount;
}

/**
 * The control of a run: the same first weights, the same rows and as much compute, spent on cross-entropy. What reinforcement has to show for itself is what is
 * better than this (cf. Tang et al., 2608.23256).
 *
 * Its number of optimiser steps follows from the compute, from the rows' lengths and from the batch size in rows that `perDeviceTrainBatchSize` ×
 * `gradientAccumulationSteps` gives; at least one.
 * @throws EspalierError `bad_data` for rows that hold nothing to learn, with the way to name the column
 */
export async function matchedControl(options: MatchedControlOptions): Promise<MatchedControl> {
  const { args, compute, outputDir, signal } = options;
  const dataset = await openDataset(options.trainDataset, 'trainDataset');
  if (!Number.isFinite(dataset.size)) throw new EspalierError('bad_config', `\`control\` needs rows that end, and ${dataset.name} has no end`, { fix: 'give the task a `size`' });
  const { model, modelArgs, inline } = options;
  const make = (maxSteps: number) => new OfflineTrainer<Solution>({ model, trainDataset: dataset, modelArgs, inline, signal }, partsOf(args, maxSteps, outputDir));
  const { tokens: planned } = await make(1).plan();
  const steps = Math.max(1, Math.round(computeUnits(compute) / (3 * Math.max(planned.step, 1))));
  const trainer = make(steps);
  try {
    const result = await trainer.train({ resume: options.resume, signal });
    const folder = join(outputDir, 'model');
    await rm(folder, { recursive: true, force: true }); // of a run that was stopped after training
    await trainer.saveModel(folder, { merge: true });
    const tokens = result.metrics.num_tokens ?? 0;
    return { result, model: folder, compute: { generated: 0, forward: tokens, backward: tokens } };
  } finally {
    await trainer.close();
  }
}

function partsOf(args: RPTConfig, maxSteps: number, outputDir: string): OfflineTrainerParts<Solution> {
  const { controlColumn: column, controlLearningRate, maxContext } = args as RPTConfig & { maxContext?: number }; // only corpora have a context
  return {
    name: `control-${args.control}`,
    args: { ...args, outputDir, maxSteps, learningRate: controlLearningRate ?? args.learningRate, ...unwatched, saveStrategy: args.saveStrategy === 'best' ? 'steps' : args.saveStrategy },
    objective: precisionObjective({ gold: false }), // cross-entropy
    prepare: (row, { engine }, origin) => controlExamples(row, origin, solutionTokenizer(engine), { maxLength: Math.min(maxContext ?? args.lmMaxLength, engine.info.maxPositions), ...(column === undefined ? {} : { column }) }),
    collate: packSolutions,
  };
}

/** Both are evaluated when they have ended. */
const unwatched = { evalStrategy: 'no', evalSteps: undefined, loadBestModelAtEnd: false, earlyStoppingPatience: undefined, metricForBestModel: undefined, resumeFromCheckpoint: false } as const;

/** A run and its control side by side. */
export interface ControlReport {
  kind: 'ce';
  /** Where the control's run and model are, below the run's folder. */
  folder: string;
  compute: { run: ComputeCount; control: ComputeCount };
  steps: { run: number; control: number };
  /** Of the last training records. */
  train: { run: Metrics; control: Metrics };
  /** On the held-out rows, by the same measure; absent where there are none. */
  held?: { run: Metrics; control: Metrics };
}

/** Writes `control.json` of a run. */
export async function writeControlReport(dir: string, report: ControlReport): Promise<void> {
  const finite = (_: string, value: unknown) => (typeof value === 'number' && !Number.isFinite(value) ? null : value);
  await writeFileDurably(join(dir, 'control.json'), `${JSON.stringify(report, finite, 2)}\n`);
}
