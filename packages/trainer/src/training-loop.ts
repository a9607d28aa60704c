import { ReportKeeper } from '@espalier/report';
import { EspalierError, isEspalierError, throwIfAborted, type Metrics, type MetricSums, type Notice, type Tracker } from '@espalier/spec';
import { resolveWarmupSteps, type TrainingArguments } from './arguments';
import type { TrainerCallback, TrainerControl, TrainerProgress } from './callbacks';
import { checkBestModel } from './check-best-model';
import { nextPatience, type PatienceState } from './early-stopping';
import type { LoopOptions, TrainResult } from './loop-options';
import { accumulate, optimise } from './optimiser-step';
import { loadLearners, saveLearners } from './owned-learners';
import type { Update } from './round';
import { MetricsWindow } from './metrics-window';
import { Guard } from './guard';
import { RunMonitor, type Alarm } from './monitor';
import { chooseAlarms } from './monitor-options';
import { readTrainerState } from './checkpoints';
import { openRun, type RunFolder } from './run-folder';
import { learningRateSchedule } from './schedules';
import { chooseTrackers } from './trackers/choose-trackers';
import type { Json, TrainerState } from './trainer-state';

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
  checkBestModel(args, options.evaluate !== undefined);
  const trackers = chooseTrackers(args.reportTo, options.trackers, args);
  const dir = args.outputDir ?? `runs/${args.runName ?? options.name}-${runtimeName()}`;
  const run = await openRun({ dir, config: options.config, resume: args.resumeFromCheckpoint, overwrite: args.overwriteOutputDir });
  const loop = new TrainingLoop(options, run, dir, trackers);
  let failure: unknown;
  try {
    return await loop.run();
  } catch (error) {
    failure = await loop.failed(error);
    throw failure;
  } finally {
    await loop.report.finish();
    try {
      for (const callback of options.callbacks ?? []) await callback.onEnd?.(loop.progress(), failure === undefined ? {} : { error: failure });
    } finally {
      const ended = await Promise.allSettled(trackers.map(async (tracker) => tracker.end?.({ step: loop.progress().step, ...(failure === undefined ? {} : { error: failure }) })));
      await run.close();
      const broken = ended.find((outcome) => outcome.status === 'rejected');
      if (broken && failure === undefined) throw broken.reason;
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
  private monitor: RunMonitor;
  private guard: Guard | null = null;
  private readonly raised: Alarm[] = [];
  private rollback: Alarm | null = null;
  private patience: PatienceState = { best: null, count: 0 };
  /** `report.html`: written at checkpoints, as far as it costs little, and at the end. */
  readonly report: ReportKeeper;
  /** Weights have left the boundary: what the learner holds cannot be saved under it. */
  private dirty = true;
  private readonly control: TrainerControl = {
    stop: () => (this.asked.stop = true),
    save: () => (this.asked.save = true),
    evaluate: () => (this.asked.evaluate = true),
  };
  private readonly schedule;
  private readonly bestMetric: string;
  private readonly greaterIsBetter: boolean;

  constructor(
    private readonly options: LoopOptions,
    private readonly folder: RunFolder,
    private readonly dir: string,
    private readonly trackers: readonly Tracker[],
  ) {
    const { args, totalSteps } = options;
    this.schedule = learningRateSchedule(args.lrSchedulerType, { learningRate: args.learningRate, warmupSteps: resolveWarmupSteps(args, totalSteps), totalSteps, kwargs: args.lrSchedulerKwargs });
    const metric = args.metricForBestModel ?? options.bestMetric;
    const alarms = chooseAlarms(options.monitors);
    this.monitor = new RunMonitor(undefined, undefined, alarms);
    if ([...alarms.values()].some(({ action }) => action === 'rollback')) this.guard = new Guard(options.monitors?.guardSteps ?? 10);
    this.bestMetric = metric.startsWith('eval_') ? metric : `eval_${metric}`;
    this.greaterIsBetter = args.greaterIsBetter ?? !this.bestMetric.endsWith('loss');
    this.report = new ReportKeeper(folder.dir, { onFailure: (error) => this.tell({ name: 'report_not_written', level: 'note', message: `report.html could not be written: ${error instanceof Error ? error.message : String(error)}`, step: this.step }) });
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
    if (this.step < totalSteps) await this.keepForRollback();
    while (this.step < totalSteps && !this.asked.stop) {
      throwIfAborted(signal);
      const epochBefore = source.epoch();
      const start = performance.now();
      const round = await source.prepare({ index: this.round, step: this.step, signal });
      this.window.addAll(round.metrics);
      if (round.samples?.length) {
        await this.folder.appendSamples(round.samples);
        for (const tracker of this.trackers) await tracker.samples?.(this.step + 1, round.samples as readonly Record<string, unknown>[]);
      }
      await this.tellOnce(round.notices ?? []);
      const preparing = performance.now() - start;
      let saveDue = false;
      const updates = round.updates.slice(0, totalSteps - this.step);
      for (const [i, update] of updates.entries()) {
        const stepMetrics = await this.update(update, round.metrics, preparing / updates.length, i === 0 ? signal : undefined);
        if (i === 0) await this.watch(stepMetrics); // those after it are of the same completions
        const epochEnded = i === updates.length - 1 && Math.floor(source.epoch() + 1e-9) > Math.floor(epochBefore + 1e-9);
        const due = (strategy: TrainingArguments['saveStrategy'], every: number) => (strategy === 'steps' ? this.step % every === 0 : strategy === 'epoch' && epochEnded);
        const last = this.step === totalSteps || this.asked.stop;
        if (due(args.loggingStrategy, args.loggingSteps) || (args.loggingFirstStep && this.step === 1) || (last && args.loggingStrategy !== 'no')) await this.log();
        if (this.asked.evaluate || due(args.evalStrategy ?? (args.evalSteps ? 'steps' : 'no'), args.evalSteps ?? args.loggingSteps)) await this.evaluate();
        saveDue ||= this.asked.save || due(args.saveStrategy, args.saveSteps) || (args.saveStrategy === 'best' && this.improved() !== undefined);
      }
      this.round++;
      this.markBoundary();
      if (saveDue && !this.rollback) await this.save();
      if (!this.rollback && this.step < totalSteps) await this.keepForRollback();
    }
    if (this.asked.stop && !this.window.empty && args.loggingStrategy !== 'no') {
      await this.log();
      this.markBoundary();
    }
    const rolledBack = this.rollback ? await this.rollBack(this.rollback) : null;
    if (args.saveStrategy !== 'no' && !rolledBack) {
      await this.save();
      if (args.saveTotalLimit) await this.folder.checkpoints.prune(args.saveTotalLimit, this.guard?.needed()); // a run killed between its last checkpoint and the removal of older ones saves no more
    }
    if (args.loadBestModelAtEnd && !rolledBack && this.best && this.best.step !== this.step && (await this.folder.checkpoints.steps()).includes(this.best.step)) {
      this.checkpoint = this.folder.checkpoints.path(this.best.step);
      await loadLearners(this.checkpoint, learner, this.options.learners ?? []);
    }
    await this.folder.log('end', { step: this.step });
    const { metrics, evalMetrics, checkpoint } = this;
    return { outputDir: this.folder.dir, step: this.step, metrics, evalMetrics, checkpoint, best: this.best ?? null, stopped: this.asked.stop && this.step < totalSteps, alarms: this.raised, rolledBack, trainSeconds: (performance.now() - began) / 1000 };
  }

  /** Turns what went wrong into what to throw, saving what can be saved. */
  async failed(error: unknown): Promise<unknown> {
    const aborted = this.options.signal?.aborted === true || (isEspalierError(error) && error.code === 'aborted');
    const diskFull = isEspalierError(error) && error.code === 'no_space';
    let saving: unknown;
    if (!this.dirty && this.boundary?.algorithm !== undefined) this.options.source.restoreAlgorithm?.(this.boundary.algorithm); // as the weights are
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
      await loadLearners(resumed.path, learner, this.options.learners ?? []);
      const { state } = resumed;
      this.step = state.step;
      if (this.folder.resumedInside) this.savedStep = state.step;
      this.round = state.round;
      this.numTokens = state.numTokens;
      this.best = state.best;
      if (state.monitor) this.monitor = new RunMonitor(state.monitor, undefined, chooseAlarms(this.options.monitors));
      if (state.guard && this.guard) this.guard = new Guard(this.options.monitors?.guardSteps ?? 10, state.guard);
      if (state.patience) this.patience = state.patience;
      this.window = new MetricsWindow(structuredClone(state.window));
      this.checkpoint = resumed.path;
      source.restore(state.cursor);
      if (state.algorithm !== undefined) source.restoreAlgorithm?.(state.algorithm);
    }
    const { totalSteps, config, notices = [], args } = this.options;
    if (this.ranOutOfPatience()) this.asked.stop = true;
    await this.folder.log(resumed ? 'resume' : 'start', { step: this.step, totalSteps, backend: learner.capabilities.backend, precision: learner.capabilities.precision });
    for (const tracker of this.trackers) await tracker.start?.({ name: args.runName ?? this.options.name, outputDir: this.folder.dir, config, totalSteps, step: this.step });
    await this.tellOnce(notices);
    this.markBoundary();
  }

  private async update(update: Update, roundMetrics: Metrics, preparing: number, signal: AbortSignal | undefined): Promise<Metrics> {
    const start = performance.now();
    const stepMetrics = new MetricsWindow();
    stepMetrics.addAll(roundMetrics);
    const learningRate = this.schedule(this.step);
    const taken: MetricSums[] = [];
    for (const [i, parts] of [update.parts, ...(update.further ?? [])].entries()) {
      const { loss, sums, learners } = await accumulate(parts, { policy: this.options.learner, learners: this.options.learners, step: this.step, signal: i === 0 ? signal : undefined });
      const enough = update.enough?.(sums) ?? false;
      if (enough && learners.every(({ learner }) => learner.clearGradients)) {
        for (const { learner } of learners) await learner.clearGradients!();
        break;
      }
      this.dirty = true;
      const own: Metrics = { loss };
      for (const owned of learners) Object.assign(own, await optimise(owned, learningRate, this.options.args));
      for (const window of [this.window, stepMetrics]) {
        window.addSums(sums);
        window.addAll(own);
      }
      taken.push(sums);
      if (enough) break;
    }
    this.step++;
    this.numTokens += update.numTokens;
    const own: Metrics = { ...update.summary?.(taken), learning_rate: learningRate, step_time: (performance.now() - start + preparing) / 1000 };
    this.window.addAll(own);
    stepMetrics.addAll(own);
    const metrics = stepMetrics.take();
    await this.emit((callback) => callback.onStep?.(this.progress(), metrics, this.control));
    for (const notice of this.monitor.observe(this.step, metrics)) await this.act(notice);
    return metrics;
  }

  private async tellOnce(notices: readonly Omit<Notice, 'step'>[]): Promise<void> {
    for (const notice of notices) if (!this.monitor.has(notice.name)) await this.tell(this.monitor.raise({ ...notice, step: this.step }));
  }

  /** Looks for alarms in what a round, or an evaluation, said, and does what is to be done about them. */
  private async watch(metrics: Metrics): Promise<void> {
    const alarms = this.monitor.alarm(this.step, metrics);
    this.guard?.observe(metrics['gold'], this.monitor.severity);
    for (const alarm of alarms) await this.act(alarm);
  }

  /** Tells a notice, and does what is to be done about it where it is an alarm. */
  private async act(notice: Notice): Promise<void> {
    const { action } = notice;
    if (action === undefined) return this.tell(notice);
    let { message } = notice;
    if (action === 'raise_beta') {
      const beta = this.options.raiseBeta?.() ?? null;
      message += beta === null ? '. There is no KL term to make weigh more' : `. The KL term weighs ${Number(beta.toPrecision(3))} from here on`;
    }
    const alarm = { ...notice, message, action };
    this.raised.push(alarm);
    await this.tell(alarm);
    if (action === 'stop' || action === 'rollback') this.asked.stop = true;
    if (action === 'rollback') this.rollback ??= alarm;
  }

  /** Saves a checkpoint that a rollback may go back to, when one is due, and removes those that it will not. */
  private async keepForRollback(): Promise<void> {
    const { guard } = this;
    const { step } = this.boundary;
    if (!guard?.due(step)) return;
    const own = !(await this.folder.checkpoints.steps()).includes(step);
    const gone = guard.take(step, own);
    this.boundary.guard = guard.state();
    await this.save();
    for (const old of gone) await this.folder.checkpoints.remove(old);
  }

  /** Takes the weights back to the checkpoint that the guard holds for the best. */
  private async rollBack(alarm: Alarm): Promise<TrainResult['rolledBack']> {
    const { checkpoints } = this.folder;
    const to = this.guard?.target() ?? null;
    if (to === null || !(await checkpoints.steps()).includes(to)) {
      await this.folder.log('warning', { name: 'nothing_to_roll_back_to', message: 'there is no checkpoint from before the alarm: the weights stay as they are', step: this.step });
      return null;
    }
    this.checkpoint = checkpoints.path(to);
    await loadLearners(this.checkpoint, this.options.learner, this.options.learners ?? []);
    const state = await readTrainerState(this.checkpoint);
    if (state.algorithm !== undefined) this.options.source.restoreAlgorithm?.(state.algorithm);
    await checkpoints.link('best', to);
    const rolledBack = { from: this.step, to, alarm: alarm.name };
    await this.folder.log('rollback', { ...rolledBack, checkpoint: this.checkpoint });
    return rolledBack;
  }

  private async tell(notice: Notice): Promise<void> {
    const { level, name, message, step, action } = notice;
    await this.folder.log(action === undefined ? level : 'alarm', { name, message, step, ...(action === undefined ? {} : { action }) });
    for (const tracker of this.trackers) await tracker.notice?.(notice);
    await this.emit((callback) => callback.onNotice?.(this.progress(), notice, this.control));
  }

  private async log(): Promise<void> {
    if (this.window.empty) return;
    // The rate is that of the step, not its mean over the window, as TRL logs it.
    this.metrics = { ...this.window.take(), learning_rate: this.schedule(this.step - 1), num_tokens: this.numTokens };
    await this.record(this.metrics, 'train');
    await this.emit((callback) => callback.onLog?.(this.progress(), this.metrics, this.control));
  }

  private async record(metrics: Metrics, kind: 'train' | 'eval'): Promise<void> {
    const values = Object.fromEntries(Object.entries(metrics).map(([name, value]) => [name, Number.isFinite(value) ? value : null]));
    const epoch = this.options.source.epoch();
    await this.folder.appendMetrics({ step: this.step, epoch, ...values });
    for (const tracker of this.trackers) await tracker.log({ step: this.step, epoch, kind, metrics });
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
    await this.record({ ...this.evalMetrics, eval_runtime: (performance.now() - start) / 1000 }, 'eval');
    await this.watch(this.evalMetrics);
    const value = this.evalMetrics[this.bestMetric];
    if (value === undefined && args.metricForBestModel) throw new EspalierError('bad_config', `\`metric_for_best_model\` ${args.metricForBestModel}: the evaluation has no such metric`, { fix: `it has ${Object.keys(this.evalMetrics).join(', ')}` });
    await this.emit((callback) => callback.onEvaluate?.(this.progress(), this.evalMetrics, this.control));
    if (args.earlyStoppingPatience === undefined || this.step === 0) return;
    if (value === undefined) throw new EspalierError('bad_config', `\`early_stopping_patience\`: the evaluation has no metric ${this.bestMetric}`, { fix: `\`metric_for_best_model\` one of ${Object.keys(this.evalMetrics).join(', ')}` });
    this.patience = nextPatience(this.patience, value, { greaterIsBetter: this.greaterIsBetter, threshold: args.earlyStoppingThreshold });
    if (!this.ranOutOfPatience()) return;
    this.asked.stop = true;
    await this.folder.log('early-stop', { step: this.step, metric: this.bestMetric, value, best: this.patience.best });
  }

  private ranOutOfPatience(): boolean {
    const { earlyStoppingPatience } = this.options.args;
    return earlyStoppingPatience !== undefined && this.patience.count >= earlyStoppingPatience;
  }

  /** The value of the evaluation of this step, when it is the best so far. */
  private improved(step = this.step): number | undefined {
    const value = this.evaluatedAt === step ? this.evalMetrics[this.bestMetric] : undefined;
    if (value === undefined || !Number.isFinite(value)) return undefined;
    return !this.best || (this.greaterIsBetter ? value > this.best.value : value < this.best.value) ? value : undefined;
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
      monitor: this.monitor.state(),
      ...(this.guard ? { guard: this.guard.state() } : {}),
      ...(this.options.args.earlyStoppingPatience === undefined ? {} : { patience: this.patience }),
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
    const value = this.improved(step);
    const best = value === undefined ? this.best : { metric: this.bestMetric, value, step };
    await this.folder.flush();
    for (const tracker of this.trackers) await tracker.flush?.();
    this.checkpoint = await checkpoints.save(step, (dir) => saveLearners(dir, learner, this.options.learners ?? []), { ...this.boundary, ...(best ? { best } : {}) });
    this.best = best;
    this.savedStep = step;
    await checkpoints.link('latest', step);
    if (value !== undefined) await checkpoints.link('best', step);
    if (args.saveTotalLimit) await checkpoints.prune(args.saveTotalLimit, this.guard?.needed());
    const { checkpoint } = this;
    await this.folder.log('save', { step, checkpoint });
    await this.report.update();
    await this.emit((callback) => callback.onSave?.(this.progress(), checkpoint, this.control));
  }

  private async emit(call: (callback: TrainerCallback) => void | Promise<void>): Promise<void> {
    for (const callback of this.options.callbacks ?? []) await call(callback);
  }
}
