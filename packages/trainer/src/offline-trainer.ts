import { isRowStream, type Dataset, type Row, type RowOrigin, type RowStream } from '@espalier/data';
import type { Engine } from '@espalier/engine';
import { EspalierError, throwIfAborted, type Metrics, type Notice, type Objective, type TokenBatch, type Tracker } from '@espalier/spec';
import type { ModelArgumentsInput, TrainingArguments } from './arguments';
import type { TrainerCallback } from './callbacks';
import { datasetDigest, openDataset, type DatasetInput } from './datasets';
import { streamedExamples, type ExampleSource } from './example-source';
import type { AuxiliaryLoss } from './online';
import { evaluateLoss, trainOffline, type CompleteBatch, type GenerateBatch } from './offline';
import type { PlannedModel, RunPlan } from './plan';
import { planOffline } from './plan-offline';
import { openPolicy, type Policy, type PolicyEngineOptions } from './policy';
import type { Json } from './trainer-state';
import type { TrainResult } from './loop-options';

/** What every trainer on given rows takes, whatever its loss. */
export interface OfflineTrainerOptions {
  /** A folder, a `.gguf` or `.safetensors` file, a hub id; or an engine, which stays open on `close()`. */
  model: string | Engine;
  /** A `.jsonl` file, a task's name, a dataset, or rows; a stream (`streamFiles`) for what does not fit memory, with `maxSteps`. */
  trainDataset: DatasetInput | RowStream;
  evalDataset?: DatasetInput;
  /** Metrics besides the loss on `evalDataset`, such as a held-out reward. */
  computeMetrics?: (context: { policy: Policy; step: number; signal?: AbortSignal }) => Promise<Metrics>;
  callbacks?: readonly TrainerCallback[];
  /** Where metrics go besides the run's folder; `reportTo` may name more. */
  trackers?: readonly Tracker[];
  modelArgs?: ModelArgumentsInput;
  inline?: boolean;
  signal?: AbortSignal;
}

export interface OfflineTrainerParts<Example> {
  name: string;
  args: TrainingArguments;
  objective: Objective;
  /** Go through the rows in a random order. Default: as `trainSamplingStrategy` says. */
  shuffle?: boolean;
  /** Keep a frozen copy of the first weights. */
  needsReference?: boolean;
  /** A row as the loss takes it, or the several examples that it holds; null: nothing of it is trained on, it is left out. */
  prepare: (row: Row, policy: Policy, origin: RowOrigin, set: 'train' | 'eval') => Example | readonly Example[] | null;
  /** All examples of a set, once they are prepared: for what one needs of its neighbours. Of a stream, those of 1000 rows at a time. */
  arrange?: (examples: Example[], context: { set: 'train' | 'eval'; policy: Policy }) => Example[];
  /** Noise on the embeddings in training. */
  neftuneNoiseAlpha?: number;
  /** Divides the logits, in training and in evaluation. Default 1. */
  temperature?: number;
  /** Losses on other data in every optimiser step, made when the tokenizer is known. */
  auxiliary?: (policy: Policy) => Promise<readonly AuxiliaryLoss[]>;
  /** What has come up since it was asked last. */
  roundNotices?: () => readonly Omit<Notice, 'step'>[];
  collate: (examples: readonly Example[]) => TokenBatch;
  complete?: CompleteBatch<Example>;
  /** Makes what {@link GenerateBatch} says, once the model is known. */
  generate?: (policy: Policy) => GenerateBatch<Example>;
  /** What is wanted of the policy's engine. */
  engine?: PolicyEngineOptions;
  /** Before every training and evaluation: what must be there first (log-probs of the first weights). */
  ready?: (context: { policy: Policy; examples: readonly Example[]; evalExamples: readonly Example[]; resume: boolean | string; signal?: AbortSignal }) => Promise<void>;
  /** Called before the user's own. */
  callbacks?: (policy: Policy) => readonly TrainerCallback[];
  /** What else a resumed run must have again. */
  config?: (policy: Policy) => Promise<Record<string, Json>> | Record<string, Json>;
  /** What is to be said when the run begins, once the model is known. */
  notices?: (policy: Policy) => readonly Omit<Notice, 'step'>[];
  /** Metrics that follow from others, such as a perplexity from a loss. */
  derived?: (metrics: Metrics) => Metrics;
}

/** Rows of a stream that are arranged together. */
const streamWindow = 1000;

interface Opened<Example> {
  policy: Policy;
  train: Dataset | RowStream;
  /** None of a stream. */
  examples: Example[];
  evalExamples: Example[];
}

/** A policy, rows and a loss on them: what `SFTTrainer` is. The model is opened by the first call that needs it. */
export class OfflineTrainer<Example> {
  private opened: Promise<Opened<Example>> | null = null;
  private closed = false;

  constructor(
    private readonly options: OfflineTrainerOptions,
    private readonly parts: OfflineTrainerParts<Example>,
  ) {}

  /**
   * Trains, or goes on with a run (`resume: true`: from the newest checkpoint of `outputDir`; a path: from that checkpoint).
   * @throws EspalierError `bad_data` with file, line and field for a wrong row; as `trainOffline`
   */
  async train(call: { resume?: boolean | string; signal?: AbortSignal } = {}): Promise<TrainResult> {
    const { policy, train, examples, evalExamples } = await this.open(call.signal);
    const { name, objective, collate, complete, generate, shuffle, derived, temperature, auxiliary } = this.parts;
    const { computeMetrics } = this.options;
    const resume = call.resume ?? this.parts.args.resumeFromCheckpoint;
    await this.parts.ready?.({ policy, examples, evalExamples, resume, signal: call.signal ?? this.options.signal });
    return trainOffline({
      name,
      learner: policy.learner,
      objective,
      examples: isRowStream(train) ? this.streamed(train, policy) : examples,
      collate,
      complete,
      generate: generate?.(policy),
      shuffle: shuffle ?? this.parts.args.trainSamplingStrategy === 'random',
      neftuneNoiseAlpha: this.parts.neftuneNoiseAlpha,
      temperature,
      auxiliary: await auxiliary?.(policy),
      roundNotices: this.parts.roundNotices,
      evalExamples,
      derived,
      evaluate: computeMetrics && ((context) => computeMetrics({ policy, ...context })),
      args: { ...this.parts.args, resumeFromCheckpoint: resume },
      config: { name, model: policy.config, dataset: isRowStream(train) ? ((await train.digest()) as Json) : await datasetDigest(train), ...(await this.parts.config?.(policy)) } satisfies Record<string, Json>,
      callbacks: [...(this.parts.callbacks?.(policy) ?? []), ...(this.options.callbacks ?? [])],
      trackers: this.options.trackers,
      notices: this.parts.notices?.(policy),
      signal: call.signal ?? this.options.signal,
    });
  }

  /**
   * Loss and metrics on `evalDataset`, with the weights as they are now.
   * @throws EspalierError `bad_config` without rows to evaluate on
   */
  async evaluate(call: { signal?: AbortSignal } = {}): Promise<Metrics> {
    const { policy, examples, evalExamples } = await this.open(call.signal);
    const { objective, collate, complete, generate, args, derived, temperature } = this.parts;
    if (evalExamples.length === 0) throw new EspalierError('bad_config', 'there is no `evalDataset`', { fix: 'give one to the trainer' });
    await this.parts.ready?.({ policy, examples, evalExamples, resume: false, signal: call.signal ?? this.options.signal });
    const metrics = await evaluateLoss({ learner: policy.learner, objective, examples: evalExamples, collate, complete, generate: generate?.(policy), temperature, batchSize: args.perDeviceEvalBatchSize, signal: call.signal ?? this.options.signal });
    return { ...metrics, ...derived?.(metrics) };
  }

  /**
   * What `train` would do: rows are read and tokenised as it would, no weights are read, nothing is written.
   * @param model stands for the model where it does not exist yet
   * @throws EspalierError as `train` does before its first step
   */
  plan(model?: PlannedModel): Promise<RunPlan> {
    return planOffline(this.options, this.parts, model);
  }

  /** Writes a folder that `transformers` loads. */
  async saveModel(dir: string, options: { dtype?: 'fp32' | 'bf16' | 'fp16'; merge?: boolean } = {}): Promise<void> {
    await (await this.open()).policy.engine.save(dir, options);
  }

  /** Closes what the trainer opened. */
  async close(): Promise<void> {
    this.closed = true;
    const opened = await this.opened?.catch(() => null);
    await opened?.policy.close();
  }

  private open(signal: AbortSignal | undefined = this.options.signal): Promise<Opened<Example>> {
    if (this.closed) return Promise.reject(new EspalierError('closed', 'the trainer is closed'));
    const { options, parts } = this;
    return (this.opened ??= (async () => {
      const train = isRowStream(options.trainDataset) ? options.trainDataset : await openDataset(options.trainDataset, 'trainDataset');
      const evaluation = options.evalDataset === undefined ? null : await openDataset(options.evalDataset, 'evalDataset');
      const policy = await openPolicy(options.model, { modelArgs: options.modelArgs, engine: { ...parts.engine, gradientCheckpointing: parts.args.gradientCheckpointing }, reference: parts.needsReference, seed: parts.args.seed, inline: options.inline, signal });
      try {
        return { policy, train, examples: isRowStream(train) ? [] : await this.prepareAll(train, policy, 'train', signal), evalExamples: evaluation ? await this.prepareAll(evaluation, policy, 'eval', signal) : [] };
      } catch (error) {
        await policy.close();
        throw error;
      }
    })().catch((error: unknown) => {
      this.opened = null; // may be tried again
      throw error;
    }));
  }

  /** Examples of a stream, made as they are needed. */
  private streamed(rows: RowStream, policy: Policy): ExampleSource<Example> {
    const { prepare, arrange, args } = this.parts;
    return streamedExamples(rows, {
      prepare: ({ row, origin }) => prepare(row, policy, origin, 'train'),
      ...(arrange ? { windowRows: streamWindow, arrange: (examples: Example[]) => arrange(examples, { set: 'train', policy }) } : {}),
      dropLast: args.dataloaderDropLast ? args.perDeviceTrainBatchSize : 0,
    });
  }

  private async prepareAll(dataset: Dataset, policy: Policy, set: 'train' | 'eval', signal: AbortSignal | undefined): Promise<Example[]> {
    if (!Number.isFinite(dataset.size)) throw new EspalierError('bad_config', `${dataset.name} has no end`, { fix: 'give the task a `size`' });
    const examples: Example[] = [];
    for (let i = 0; i < dataset.size; i++) {
      const example = this.parts.prepare(dataset.row(i), policy, dataset.origin(i), set);
      if (Array.isArray(example)) examples.push(...(example as readonly Example[]));
      else if (example !== null) examples.push(example as Example);
      if (i % 256 === 255) {
        await new Promise((resolve) => setImmediate(resolve)); // the caller's event loop stays free
        throwIfAborted(signal);
      }
    }
    if (examples.length === 0) throw new EspalierError('bad_data', `no row of ${dataset.name} has anything to train on`, { fix: 'rows whose completion fits `max_length`' });
    return this.parts.arrange?.(examples, { set, policy }) ?? examples;
  }
}
