import { EspalierError, throwIfAborted, type Learner, type Metrics, type Notice, type Objective, type TokenBatch, type Tracker } from '@espalier/spec';
import type { TrainingArguments } from './arguments';
import type { TrainerCallback } from './callbacks';
import { examplesInMemory, type ExampleSource } from './example-source';
import { MetricsWindow } from './metrics-window';
import type { AuxiliaryLoss } from './online';
import { deriveSeed } from './seeds';
import { asOneStep } from './split-batch';
import type { Json } from './trainer-state';
import type { TrainResult } from './loop-options';
import { runTrainingLoop } from './training-loop';

/** Adds to a collated batch what must be computed for it with the weights of the step: log-probs of the reference, a KL estimate. Changes no weights. */
export type CompleteBatch<Example> = (batch: TokenBatch, examples: readonly Example[], context: { learner: Learner; signal?: AbortSignal }) => Promise<TokenBatch>;

/** What a model said where rows would have: a micro-batch with its own normalizer, and what to log of it. */
export interface GeneratedBatch {
  batch: TokenBatch;
  metrics: Metrics;
  /** For `samples.jsonl`, without `step`. */
  samples?: readonly Record<string, Json>[];
}

/**
 * A micro-batch of completions sampled for some examples in place of what stands in their rows; null: the rows as they are. Everything random in it derives from
 * `round` (null in an evaluation) and `position`, that of its first example in the round: so it is the same after a resume, and however a step is divided.
 */
export type GenerateBatch<Example> = (examples: readonly Example[], context: { round: number | null; position: number; learner: Learner; signal?: AbortSignal }) => Promise<GeneratedBatch | null>;

export interface TrainOfflineOptions<Example> {
  name?: string;
  learner: Learner;
  objective: Objective;
  /** What the rows became: tokenised, checked, ready to be put together. Or where they come from, when they do not fit memory: `maxSteps` says when to end. */
  examples: readonly Example[] | ExampleSource<Example>;
  /** Puts examples together as one micro-batch, with its own normalizer. */
  collate: (examples: readonly Example[]) => TokenBatch;
  /** Called for every micro-batch, of training and of evaluation, in place of `collate` where it gives one. */
  generate?: GenerateBatch<Example>;
  /** Called for every micro-batch, of training and of evaluation. */
  complete?: CompleteBatch<Example>;
  evalExamples?: readonly Example[];
  args: TrainingArguments;
  /** What the run computes besides the arguments (model, rows …): a resumed run must have the same. */
  config?: Record<string, Json>;
  /** Metrics besides the loss on `evalExamples`. */
  evaluate?: (context: { step: number; signal?: AbortSignal }) => Promise<Metrics>;
  /** Metrics that follow from those on `evalExamples`, such as a perplexity. */
  derived?: (metrics: Metrics) => Metrics;
  /** Go through the rows in a random order. Default true; a source has an order of its own. */
  shuffle?: boolean;
  /** Noise on the embeddings in training (NEFTune, 2310.05914). */
  neftuneNoiseAlpha?: number;
  /** Divides the logits, in training and in evaluation. Default 1. */
  temperature?: number;
  /** Losses on other data in every optimiser step. */
  auxiliary?: readonly AuxiliaryLoss[];
  /** Asked before every step for what has come up: see `Round.notices`. */
  roundNotices?: () => readonly Omit<Notice, 'step'>[];
  callbacks?: readonly TrainerCallback[];
  trackers?: readonly Tracker[];
  /** What is to be said when the run begins. */
  notices?: readonly Omit<Notice, 'step'>[];
  signal?: AbortSignal;
}

/** Optimiser steps that the arguments ask for, as `transformers` counts them: `maxSteps`, or whole accumulations an epoch times epochs. */
export function offlineSteps(rows: number, args: Pick<TrainingArguments, 'perDeviceTrainBatchSize' | 'gradientAccumulationSteps' | 'numTrainEpochs' | 'maxSteps' | 'dataloaderDropLast'>): number {
  if (args.maxSteps > 0) return args.maxSteps;
  const batches = args.dataloaderDropLast ? Math.floor(rows / args.perDeviceTrainBatchSize) : Math.ceil(rows / args.perDeviceTrainBatchSize);
  return Math.ceil(args.numTrainEpochs * Math.max(1, Math.ceil(batches / args.gradientAccumulationSteps)));
}

/**
 * Trains on rows that are there from the start: supervised fine-tuning, pre-training, preferences.
 *
 * An optimiser step takes `gradientAccumulationSteps` micro-batches of `perDeviceTrainBatchSize` examples; their losses are normalised over the
 * step, so 8 × 1 and 1 × 8 are the same step. A pass over the rows ends with a smaller step unless `dataloaderDropLast`.
 *
 * @throws EspalierError `bad_data` without examples, `aborted` when the signal fires (see {@link runTrainingLoop})
 */
export async function trainOffline<Example>(options: TrainOfflineOptions<Example>): Promise<TrainResult> {
  const { args, examples, collate, objective, learner, evalExamples } = options;
  const { perDeviceTrainBatchSize: size, gradientAccumulationSteps: accumulation } = args;
  const inMemory = Array.isArray(examples) ? (examples as readonly Example[]) : null;
  if (inMemory && args.dataloaderDropLast && inMemory.length < size) throw new EspalierError('bad_data', `${inMemory.length} rows do not fill one batch of \`per_device_train_batch_size\` ${size}`, { fix: 'more rows, a smaller batch, or no `dataloader_drop_last`' });
  if (!inMemory && args.maxSteps <= 0) throw new EspalierError('bad_config', 'rows come as a stream, and `max_steps` is not set', { fix: 'set `max_steps`: the length of a stream is not known' });
  const source = inMemory ? examplesInMemory(inMemory, { seed: args.dataSeed ?? args.seed, shuffle: options.shuffle ?? true, dropLast: args.dataloaderDropLast ? size : 0 }) : (examples as ExampleSource<Example>);
  const evaluate = evalExamples?.length || options.evaluate ? evaluation() : undefined;

  function evaluation() {
    return async (context: { step: number; signal?: AbortSignal }): Promise<Metrics> => {
      const onRows = evalExamples?.length ? await evaluateLoss({ learner, objective, examples: evalExamples, collate, generate: options.generate, complete: options.complete, temperature: options.temperature, batchSize: args.perDeviceEvalBatchSize, signal: context.signal }) : {};
      return { ...onRows, ...options.derived?.(onRows), ...(await options.evaluate?.(context)) };
    };
  }

  /** Drawn anew for every micro-batch. */
  const noise = (round: number, part: number) => (options.neftuneNoiseAlpha ? { neftuneNoiseAlpha: options.neftuneNoiseAlpha, seed: deriveSeed(args.seed, round, part, 0x4e) } : {});

  return runTrainingLoop({
    name: options.name ?? objective.name,
    learner,
    args,
    totalSteps: offlineSteps(inMemory?.length ?? Infinity, args),
    config: { ...options.config, arguments: args as unknown as Json },
    evaluate,
    bestMetric: 'eval_loss',
    callbacks: options.callbacks,
    trackers: options.trackers,
    notices: options.notices,
    signal: options.signal,
    source: {
      epoch: () => source.epoch(),
      state: () => source.state(),
      restore: (state) => source.restore(state),
      async prepare(round) {
        const batches: TokenBatch[] = [];
        const generated: GeneratedBatch[] = [];
        let position = 0;
        for (let more = true; more && batches.length < accumulation; ) {
          const taken = await source.take(size, round.signal);
          const chosen = taken.examples;
          more = taken.more;
          const made = (await options.generate?.(chosen, { round: round.index, position, learner, signal: round.signal })) ?? null;
          if (made) generated.push(made);
          position += chosen.length;
          const batch = made?.batch ?? collate(chosen);
          batches.push(options.complete ? await options.complete(batch, chosen, { learner, signal: round.signal }) : batch);
        }
        const numTokens = batches.reduce((sum, batch) => sum + batch.tokens.length, 0);
        const logged = (round.step + 1) % args.loggingSteps === 0 || round.step === 0;
        const samples = logged ? generated.flatMap(({ samples = [] }) => samples.map((sample) => ({ step: round.step + 1, ...sample }))) : [];
        const tempered = options.temperature === undefined ? {} : { temperature: options.temperature };
        const parts = asOneStep(batches).map((batch, p) => ({ batch, objective, ...tempered, ...noise(round.index, p) }));
        const others = (options.auxiliary ?? []).map((auxiliary) => ({ batch: auxiliary.batch(round.step), objective: auxiliary.objective, prefix: auxiliary.prefix }));
        return { updates: [{ parts: [...parts, ...others], numTokens }], metrics: meanMetrics(generated), samples, notices: options.roundNotices?.() };
      },
    },
  });
}

/** Each metric over the micro-batches that have it. */
function meanMetrics(generated: readonly GeneratedBatch[]): Metrics {
  const window = new MetricsWindow();
  for (const { metrics } of generated) window.addAll(metrics);
  return window.take();
}

/** The objective on rows that are not trained on, as one step over all of them: `loss`, and the objective's own metrics. */
export async function evaluateLoss<Example>(options: { learner: Learner; objective: Objective; examples: readonly Example[]; collate: (examples: readonly Example[]) => TokenBatch; generate?: GenerateBatch<Example>; complete?: CompleteBatch<Example>; temperature?: number; batchSize: number; signal?: AbortSignal }): Promise<Metrics> {
  const { learner, objective, examples, collate, complete, temperature, batchSize, signal } = options;
  const chunks = Array.from({ length: Math.ceil(examples.length / batchSize) }, (_, i) => examples.slice(i * batchSize, (i + 1) * batchSize));
  const normalizer = { tokens: 0, sequences: 0 };
  const batches: TokenBatch[] = [];
  const window = new MetricsWindow();
  for (const [i, chunk] of chunks.entries()) {
    const made = await options.generate?.(chunk, { round: null, position: i * batchSize, learner, signal });
    if (made) window.addAll(made.metrics);
    const batch = made?.batch ?? collate(chunk);
    batches.push(batch);
    normalizer.tokens += batch.normalizer.tokens;
    normalizer.sequences += batch.normalizer.sequences;
  }
  let loss = 0;
  for (const [i, chunk] of chunks.entries()) {
    throwIfAborted(signal);
    let batch = { ...batches[i], normalizer };
    if (batch.actionIndex.length === 0) continue;
    if (complete) batch = await complete(batch, chunk, { learner, signal });
    const evaluated = objective.evaluate(await learner.forward(batch, objective.needs, { signal, temperature, outputOptions: objective.outputOptions }), batch);
    loss += evaluated.loss;
    window.addSums(evaluated.metrics);
  }
  return { loss, ...window.take() };
}
