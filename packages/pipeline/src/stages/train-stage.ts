import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Metrics, MetricsHandle, PolicyHandle, StageContext } from '@espalier/spec';
import { writeFileDurably } from '@espalier/spec/files';
import type { PlannedModel, RunPlan, TrainerCallback, TrainResult } from '@espalier/trainer';
import { digestPath } from '../digest';

/** What the stages need of a trainer. */
export interface StageTrainer {
  train(call?: { resume?: boolean | string; signal?: AbortSignal }): Promise<TrainResult>;
  saveModel(dir: string, options?: { merge?: boolean }): Promise<void>;
  plan(model?: PlannedModel): Promise<RunPlan>;
  close(): Promise<void>;
}

/** The callback that passes a trainer's steps on to whoever runs the pipeline. */
export function reporter(stage: string, context: StageContext): TrainerCallback {
  return { onStep: ({ step, totalSteps }, metrics) => context.report({ stage, step, total: totalSteps, metrics }), onNotice: (_, notice) => context.notice?.({ stage, ...notice }) };
}

/** Finite numbers only: what a report and JSON can hold. */
const finite = (metrics: Metrics): Metrics => Object.fromEntries(Object.entries(metrics).filter(([, value]) => Number.isFinite(value)));

/** Writes `metrics.json` of a stage. */
export async function metricsArtifact(context: StageContext, metrics: Metrics): Promise<MetricsHandle> {
  const path = join(context.dir, 'metrics.json');
  const values = finite(metrics);
  await writeFileDurably(path, `${JSON.stringify(values, null, 2)}\n`);
  return { kind: 'metrics', path, values };
}

/** Trains inside a stage's folder and gives `model/`: one folder that holds the whole model, adapters merged. */
export async function trainInStage(trainer: StageTrainer, context: StageContext, evaluate: (() => Promise<Metrics>) | null): Promise<{ policy: PolicyHandle; metrics: MetricsHandle }> {
  try {
    await mkdir(context.dir, { recursive: true });
    const result = await trainer.train({ resume: context.resume, ...(context.signal ? { signal: context.signal } : {}) });
    const held = evaluate ? await evaluate() : {};
    const path = join(context.dir, 'model');
    await rm(path, { recursive: true, force: true }); // of a run that was stopped after training
    await trainer.saveModel(path, { merge: true });
    const metrics = { ...result.metrics, ...result.evalMetrics, ...Object.fromEntries(Object.entries(held).map(([name, value]) => [`eval_${name}`, value])), steps: result.step };
    return { policy: { kind: 'policy', path, digest: await digestPath(path) }, metrics: await metricsArtifact(context, metrics) };
  } finally {
    await trainer.close();
  }
}
