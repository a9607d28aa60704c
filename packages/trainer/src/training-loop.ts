import { EspalierError, isEspalierError, throwIfAborted, type Learner, type Metrics, type Objective, type TokenBatch } from '@espalier/spec';
import { resolveWarmupSteps, type TrainingArguments } from './arguments';
import type { TrainerCallback, TrainerControl, TrainerProgress } from './callbacks';
import { nextSequenceNumber } from './learner-calls';
import { MetricsWindow } from './metrics-window';
import { openRun, type RunFolder } from './run-folder';
import { learningRateSchedule } from './schedules';
import type { Json, TrainerState } from './trainer-state';

/** What one optimiser step is computed from. The parts' `normalizer`s are of the whole step. */
export interface Update {
  parts: readonly { batch: TokenBatch; objective: Objective; temperature?: number; /** Put before the names of the metrics. */ prefix?: string }[];
  /** Tokens trained on. */
  numTokens: number;
}

/** One turn of the loop: what was collected, and the optimiser steps to take on it. */
export interface Round {
  updates: readonly Update[];
  metrics: Metrics;
  samples?: readonly Json[];
}

/** Where the rounds come from: rows (offline) or generation (online). */
export interface RoundSource {
  /** Makes round `index`. Everything random in it derives from (seed, index) and the cursor. Must change no weights. */
  prepare(round: { index: number; step: number; signal?: AbortSignal }): Promise<Round>;
  /** Share of all rows seen, e.g. 1.5. */
  epoch(): number;
  state(): Json;
  restore(state: Json): void;
  /** State of the algorithm, when it has one. */
  algorithmState?(): Json | undefined;
  restoreAlgorithm?(state: Json): void;
}

export interface LoopOptions {
  /** Names the folder of the run when `outputDir` is not given. */
  name: string;
  learner: Learner;
  source: RoundSource;
  args: TrainingArguments;
  totalSteps: number;
  config: Json;
  /** Held-out metrics, without the prefix `eval_`. */
  evaluate?: (context: { step: number; signal?: AbortSignal }) => Promise<Metrics>;
  /** Default of `metricForBestModel`. */
  bestMetric: string;
  callbacks?: readonly TrainerCallback[];
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
  /** The newest checkpoint; null when none was written. */
  checkpoint: string | null;
  best: { metric: string; value: number; step: number } | null;
  /** A callback ended the run early. */
  stopped: boolean;
  trainSeconds: number;
}

const runtimeName = () => new Date().toISOString().slice(0, 19).replace(/[-:]/g, '').replace('T', '-');

/**
 * The loop that offline and online training share: optimiser steps under a schedule, metrics, evaluation, checkpoints, resume, callbacks.
 *
 * A checkpoint is taken between rounds only: there, (weights, optimiser, position in the rows, open metrics) are all that the rest of the run
 * depends on, so a run that was killed and resumed computes the same numbers. A save that falls due inside a round waits for its end.
 *
 * @throws EspalierError `aborted` when the signal fires: the state between rounds is saved first, and the message says how to go on
 */
export async function runTrainingLoop(options: LoopOptions): Promise<TrainResult> {
  const { args } = options;
  const dir = args.outputDir ?? `runs/${args.runName ?? options.name}-${runtimeName()}`;
  const run = await openRun({ dir, config: options.config, resume: args.resumeFromCheckpoint, overwrite: args.overwriteOutputDir });
  const loop = new TrainingLoop(options, run, dir);
  let failure: unknown;
  try {
    return await loop.run();
  } catch (error) {
    failure = await loop.failed(error);
    throw failure;
  } finally {
    try {
      for (const callback of options.callbacks ?? []) await callback.onEnd?.(loop.progress(), failure === undefined ? {} : { error: failure });
    } finally {
      await run.close();
    }
  }
}

class TrainingLoop {
  private step = 0;
  private round = 0;
  private numTokens = 0;
  private window = new MetricsWindow();
  private best: TrainerState['best'];
  private boundary!: TrainerState; // the state between the last two rounds
  private savedStep = -1;
  private checkpoint: string | null = null;
  private metrics: Metrics = {};
  private evalMetrics: Metrics = {};
  private evaluatedAt = -1;
  private pendingEvaluation = false;
  private asked = { stop: false, save: false, evaluate: false };
  /** Weights have left the boundary: what the learner holds cannot be saved under it. */
  private dirty = true;
  private readonly control: TrainerControl = {
    stop: () => (this.asked.stop = true),
    save: () => (this.asked.save = true),
    evaluate: () => (this.asked.evaluate = true),
  };
  private readonly schedule;
  private readonly bestMetric: string;

  constructor(
    private readonly options: LoopOptions,
    private readonly folder: RunFolder,
    private readonly dir: string,
  ) {
    const { args, totalSteps } = options;
    this.schedule = learningRateSchedule(args.lrSchedulerType, { learningRate: args.learningRate, warmupSteps: resolveWarmupSteps(args, totalSteps), totalSteps, kwargs: args.lrSchedulerKwargs });
    const metric = args.metricForBestModel ?? options.bestMetric;
    this.bestMetric = metric.startsWith('eval_') ? metric : `eval_${metric}`;
  }

  progress(): TrainerProgress {
    return { step: this.step, totalSteps: this.options.totalSteps, epoch: this.options.source.epoch(), numTokens: this.numTokens, outputDir: this.folder.dir };
  }

  async run(): Promise<TrainResult> {
    const { args, source, totalSteps, signal, learner } = this.options;
    const began = performance.now();
    await this.start();
    await this.emit((callback) => callback.onTrainBegin?.(this.progress(), this.control));
    if (args.evalOnStart && this.step === 0) await this.evaluate();
    if (this.folder.resumed?.state.pendingEvaluation) {
      await this.evaluate();
      this.markBoundary();
      this.savedStep = -1; // written again, now that it may be the best
    }
    while (this.step < totalSteps && !this.asked.stop) {
      throwIfAborted(signal);
      const epochBefore = source.epoch();
      const start = performance.now();
      const round = await source.prepare({ index: this.round, step: this.step, signal });
      this.window.addAll(round.metrics);
      if (round.samples) await this.folder.appendSamples(round.samples);
      const preparing = performance.now() - start;
      let saveDue = false;
      const updates = round.updates.slice(0, totalSteps - this.step);
      for (const [i, update] of updates.entries()) {
        await this.update(update, round.metrics, preparing / updates.length, i === 0 ? signal : undefined);
        const epochEnded = i === updates.length - 1 && Math.floor(source.epoch() + 1e-9) > Math.floor(epochBefore + 1e-9);
        const due = (strategy: 'no' | 'steps' | 'epoch', every: number) => (strategy === 'steps' ? this.step % every === 0 : strategy === 'epoch' && epochEnded);
        const last = this.step === totalSteps || this.asked.stop;
        if (due(args.loggingStrategy, args.loggingSteps) || (args.loggingFirstStep && this.step === 1) || (last && args.loggingStrategy !== 'no')) await this.log();
        if (this.asked.evaluate || due(args.evalStrategy ?? (args.evalSteps ? 'steps' : 'no'), args.evalSteps ?? args.loggingSteps)) await this.evaluate();
        saveDue ||= this.asked.save || due(args.saveStrategy, args.saveSteps);
      }
      this.round++;
      this.markBoundary();
      if (saveDue) await this.save();
    }
    if (this.asked.stop && !this.window.empty && args.loggingStrategy !== 'no') {
      await this.log();
      this.markBoundary();
    }
    if (args.saveStrategy !== 'no') {
      await this.save();
      if (args.saveTotalLimit) await this.folder.checkpoints.prune(args.saveTotalLimit); // a run killed between its last checkpoint and the removal of older ones saves no more
    }
    if (args.loadBestModelAtEnd && this.best && this.best.step !== this.step) await learner.load(this.folder.checkpoints.path(this.best.step));
    await this.folder.log('end', { step: this.step });
    const { metrics, evalMetrics, checkpoint } = this;
    return { outputDir: this.folder.dir, step: this.step, metrics, evalMetrics, checkpoint, best: this.best ?? null, stopped: this.asked.stop && this.step < totalSteps, trainSeconds: (performance.now() - began) / 1000 };
  }

  /** Turns what went wrong into what to throw, saving what can be saved. */
  async failed(error: unknown): Promise<unknown> {
    const aborted = this.options.signal?.aborted === true || (isEspalierError(error) && error.code === 'aborted');
    const diskFull = isEspalierError(error) && error.code === 'no_space';
    let saving: unknown;
    if (!this.dirty && !diskFull && this.options.args.saveStrategy !== 'no' && this.boundary.step > 0) {
      this.step = this.boundary.step;
      await this.save().catch((reason: unknown) => (saving = reason));
    }
    await this.folder.log(aborted ? 'aborted' : 'failed', { step: this.boundary?.step ?? 0, message: error instanceof Error ? error.message : String(error) }).catch(() => undefined);
    if (!aborted) return error;
    const { totalSteps } = this.options;
    const where = `stopped after step ${this.boundary?.step ?? 0} of ${totalSteps}`;
    if (saving !== undefined) return new EspalierError('aborted', `${where}; saving failed: ${(saving as Error).message}`, { cause: saving });
    if (this.checkpoint === null) return new EspalierError('aborted', `${where}; there is no checkpoint to resume from`, { cause: error });
    return new EspalierError('aborted', `${where}; ${this.checkpoint} is saved`, { fix: `resume with --resume --output-dir ${this.dir}, or \`resumeFromCheckpoint: true\``, cause: error });
  }

  private async start(): Promise<void> {
    const { learner, source } = this.options;
    const { resumed } = this.folder;
    if (resumed) {
      await learner.load(resumed.path);
      const { state } = resumed;
      this.step = state.step;
      if (this.folder.resumedInside) this.savedStep = state.step;
      this.round = state.round;
      this.numTokens = state.numTokens;
      this.best = state.best;
      this.window = new MetricsWindow(structuredClone(state.window));
      this.checkpoint = resumed.path;
      source.restore(state.cursor);
      if (state.algorithm !== undefined) source.restoreAlgorithm?.(state.algorithm);
    }
    await this.folder.log(resumed ? 'resume' : 'start', { step: this.step, totalSteps: this.options.totalSteps, backend: learner.capabilities.backend, precision: learner.capabilities.precision });
    this.markBoundary();
  }

  private async update(update: Update, roundMetrics: Metrics, preparing: number, signal: AbortSignal | undefined): Promise<void> {
    const { learner, args } = this.options;
    const start = performance.now();
    const stepMetrics = new MetricsWindow();
    stepMetrics.addAll(roundMetrics);
    let loss = 0;
    for (const { batch, objective, temperature, prefix = '' } of update.parts) {
      if (batch.actionIndex.length === 0) continue; // nothing in it is trained on
      const result = await learner.forwardBackward(batch, objective, { seq: nextSequenceNumber(learner), signal, temperature });
      if (!Number.isFinite(result.loss)) throw new EspalierError('bad_config', `the loss became ${result.loss} at step ${this.step + 1}; the weights are those of step ${this.step}`, { fix: 'a smaller `learning_rate` may do' });
      loss += result.loss;
      stepMetrics.addSums(result.metrics, prefix);
      this.window.addSums(result.metrics, prefix);
    }
    this.dirty = true;
    const learningRate = this.schedule(this.step);
    const { adamBeta1, adamBeta2, adamEpsilon, weightDecay, maxGradNorm } = args;
    const optimiser = await learner.optimStep({ learningRate, maxGradNorm, adamBeta1, adamBeta2, adamEpsilon, weightDecay }, { seq: nextSequenceNumber(learner) });
    this.step++;
    this.numTokens += update.numTokens;
    const own: Metrics = { loss, ...optimiser, learning_rate: learningRate, step_time: (performance.now() - start + preparing) / 1000 };
    this.window.addAll(own);
    stepMetrics.addAll(own);
    const metrics = stepMetrics.take();
    await this.emit((callback) => callback.onStep?.(this.progress(), metrics, this.control));
  }

  private async log(): Promise<void> {
    if (this.window.empty) return;
    // The rate is that of the step, not its mean over the window, as TRL logs it.
    this.metrics = { ...this.window.take(), learning_rate: this.schedule(this.step - 1), num_tokens: this.numTokens };
    await this.record(this.metrics);
    await this.emit((callback) => callback.onLog?.(this.progress(), this.metrics, this.control));
  }

  private async record(metrics: Metrics): Promise<void> {
    const values = Object.fromEntries(Object.entries(metrics).map(([name, value]) => [name, Number.isFinite(value) ? value : null]));
    await this.folder.appendMetrics({ step: this.step, epoch: this.options.source.epoch(), ...values });
  }

  private async evaluate(): Promise<void> {
    const { evaluate, signal, args } = this.options;
    this.asked.evaluate = false;
    if (!evaluate || this.evaluatedAt === this.step) return;
    const start = performance.now();
    let metrics: Metrics;
    try {
      metrics = await evaluate({ step: this.step, signal });
    } catch (error) {
      if (!signal?.aborted) throw error;
      this.pendingEvaluation = true; // the loop ends at the next boundary; whoever resumes there evaluates first
      return;
    }
    this.evalMetrics = Object.fromEntries(Object.entries(metrics).map(([name, value]) => [`eval_${name}`, value]));
    this.evaluatedAt = this.step;
    await this.record({ ...this.evalMetrics, eval_runtime: (performance.now() - start) / 1000 });
    const value = this.evalMetrics[this.bestMetric];
    if (value === undefined && args.metricForBestModel) throw new EspalierError('bad_config', `\`metric_for_best_model\` ${args.metricForBestModel}: the evaluation has no such metric`, { fix: `it has ${Object.keys(this.evalMetrics).join(', ')}` });
    await this.emit((callback) => callback.onEvaluate?.(this.progress(), this.evalMetrics, this.control));
  }

  /** Fixes the state between two rounds: what a checkpoint of this instant holds. */
  private markBoundary(): void {
    const { source, config } = this.options;
    const algorithm = source.algorithmState?.();
    this.boundary = {
      version: 1,
      step: this.step,
      round: this.round,
      epoch: source.epoch(),
      numTokens: this.numTokens,
      cursor: structuredClone(source.state()) as Json,
      window: this.window.state(),
      ...(this.best ? { best: this.best } : {}),
      offsets: this.folder.offsets(),
      ...(this.pendingEvaluation ? { pendingEvaluation: true } : {}),
      ...(algorithm === undefined ? {} : { algorithm: structuredClone(algorithm) as Json }),
      config,
    };
    this.dirty = false;
  }

  private async save(): Promise<void> {
    const { learner, args } = this.options;
    const { checkpoints } = this.folder;
    this.asked.save = false;
    const { step } = this.boundary;
    if (this.savedStep === step) return;
    const value = this.evaluatedAt === step ? this.evalMetrics[this.bestMetric] : undefined;
    const greater = args.greaterIsBetter ?? !this.bestMetric.endsWith('loss');
    const improved = value !== undefined && Number.isFinite(value) && (!this.best || (greater ? value > this.best.value : value < this.best.value));
    const best = improved ? { metric: this.bestMetric, value, step } : this.best;
    await this.folder.flush();
    this.checkpoint = await checkpoints.save(step, (dir) => learner.save(dir), { ...this.boundary, ...(best ? { best } : {}) });
    this.best = best;
    this.savedStep = step;
    await checkpoints.link('latest', step);
    if (improved) await checkpoints.link('best', step);
    if (args.saveTotalLimit) await checkpoints.prune(args.saveTotalLimit);
    const { checkpoint } = this;
    await this.folder.log('save', { step, checkpoint });
    await this.emit((callback) => callback.onSave?.(this.progress(), checkpoint, this.control));
  }

  private async emit(call: (callback: TrainerCallback) => void | Promise<void>): Promise<void> {
    for (const callback of this.options.callbacks ?? []) await call(callback);
  }
}
