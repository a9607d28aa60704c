import { existsSync } from 'node:fs';
import { MessageChannel, Worker } from 'node:worker_threads';
import { EspalierError, type Completion, type GenerateRequest, type Learner } from '@espalier/spec';
import type { TokenEvent } from './decode/decoding';
import { openCheckpoint, type Tokenizer } from '@espalier/models';
import { garbageCollector } from './collect-garbage';
import { Connection } from './connection';
import { serveEngine } from './host';
import { EngineLearner } from './learner';
import { portOf, type EngineInfo, type EngineMemory, type LoraOptions, type OpenParams } from './protocol';
import { sequenceLogps } from './sequence-logps';

export interface EngineOptions {
  /** A folder, a `.gguf` or `.safetensors` file, or a hub id. */
  model: string;
  /** `native`, `tensorflow-gpu`, `tensorflow`, `wasm` or `cpu`. Default: the best that is here, or what `ESPALIER_BACKEND` says. */
  backend?: string;
  /** Precision of matrix products. Default: bf16 where the processor has it, or what `ESPALIER_MATMUL_PRECISION` says. */
  precision?: 'bf16' | 'fp32';
  /**
   * `int8`: generate with the linear layers and the language-model head in eight bits (weights once, and activations as they come; a scale for each 32 numbers of a
   * row). Half the memory to read a token, on the backend `native`; the log-probs that come with completions are then those of the rounded model, which differ from the
   * learner's: the online trainers log by how much, and the group-relative ones correct for it. Training and scoring stay as they are. Default: the precision of matrix products.
   */
  samplerWeights?: 'int8';
  /** Run on the caller's thread: for tests and debugging. Default false. */
  inline?: boolean;
  /** Train an adapter instead of the weights. */
  lora?: LoraOptions;
  /**
   * Give the model a scalar head (`score.weight`, one number a token) beside the language-model head: the learner then has the outputs `values` and `scores`.
   * A checkpoint that has none gets one from the seed. Default: true where the checkpoint was saved with one.
   */
  scalarHead?: boolean;
  /** The lowest `layers` layers and the embedding (with it a tied head) are not trained: no gradient, no optimiser state, and the reference shares them. Not beside LoRA. */
  freeze?: { layers: number };
  /** Keep an exponential moving average of the trained weights: see `useEma`. It is saved with checkpoints. */
  ema?: { decay: number };
  /** Keep a frozen copy of the first weights for `forward(…, { reference: true })`. With LoRA there is always one, at no cost. Default false. */
  reference?: boolean;
  /**
   * A second, frozen model of the same vocabulary on the same thread, named as `model` is: the learner then has the output `teacherDivergence`, and
   * `generate(…, { teacher: true })` samples from it. Default: none.
   */
  teacher?: string;
  /** Keep each block's input alone for the backward pass, which computes the block again: less memory, a third more arithmetic, the same gradient. Default false. */
  gradientCheckpointing?: boolean;
  /** Of the first weights of the adapter and of a new scalar head. Default 0. */
  seed?: number;
  /** Tokens computed at once in training and scoring, shared prefixes included: bounds the memory of activations. Default 1024. */
  maxTokensPerMicroBatch?: number;
  /** Samples decoded at once. Default 64. */
  maxBatchSize?: number;
  /** Bound on the KV cache in bytes, which grows with need and is freed when nothing is generated. Default 1 GiB. */
  maxCacheBytes?: number;
  /** Prompt tokens computed at once. Default 2048. */
  prefillTokens?: number;
  /** Stops waiting for the model to load. */
  signal?: AbortSignal;
}

/** One model that trains and generates with the same weights. */
export interface Engine {
  readonly info: EngineInfo;
  readonly tokenizer: Tokenizer;
  readonly learner: Learner;
  /**
   * Completions in the order in which they end, all requests batched together. When `signal` fires, what is under way comes back as `aborted` and the
   * iteration ends; leaving the loop early aborts the rest. `teacher` samples from the teacher. Calls that are made while others run join their batch.
   * `onTokens` is told the tokens of each step as they are sampled, for streaming: all of a sample but its last, which comes with the completion.
   * `forTraining`: the learner will train on these completions before the weights change. What is computed of them is kept then, so that its forward pass need not compute it
   * again; the numbers are the same. It takes the memory that the activations of that pass would take until all of it was trained on or the weights change, and is left undone where they are more than `maxTokensPerMicroBatch` tokens (prompts once,
   * and every sample at its full length), beside other requests, with adapters, `gradientCheckpointing` or `samplerWeights`, and on other backends than `native`.
   * @throws EspalierError `bad_data` or `bad_config` for a request that cannot be served; `closed`
   */
  generate(requests: readonly GenerateRequest[], options?: { signal?: AbortSignal; teacher?: boolean; forTraining?: boolean; onTokens?(tokens: readonly TokenEvent[]): void }): AsyncIterable<Completion>;
  /** Log-prob (nats, temperature 1) of each token given those before it; entry 0 of each is NaN. */
  score(sequences: readonly Int32Array[], options?: { signal?: AbortSignal }): Promise<Float32Array[]>;
  /** Writes a folder that `transformers` loads (with LoRA: a PEFT adapter, or with `merge` the whole model). No optimiser state; for that see `learner.save`. */
  save(dir: string, options?: { dtype?: 'fp32' | 'bf16' | 'fp16'; merge?: boolean }): Promise<void>;
  /**
   * Generates, scores and saves with the average of the weights (`openEngine({ ema })`) instead of the weights, until it is called with `false`; training waits till then.
   * `learner.save` writes both all the same.
   * @throws EspalierError `unsupported` without `ema`
   */
  useEma(on: boolean): Promise<void>;
  memory(): Promise<EngineMemory>;
  /** Ends the thread and frees its memory. What is pending is rejected with `closed`. Harmless when repeated. */
  close(): Promise<void>;
}

/** The caller's heap is collected now and then while it is smaller than this, in bytes: a collection then takes some ten milliseconds. */
const callersHeap = 64 * 2 ** 20;

/**
 * Loads a model on a thread of its own.
 * @throws EspalierError `not_found`, `bad_checkpoint`, `backend_unavailable`, `aborted` …
 * @example
 * const engine = await openEngine({ model: 'runs/sft/checkpoints/latest' });
 * for await (const { text } of engine.generate([{ id: 'a', prompt: engine.tokenizer.encode('2 + 3 ='), seed: 1 }])) console.log(text);
 * await engine.close();
 */
export async function openEngine(options: EngineOptions): Promise<Engine> {
  for (const name of ['maxTokensPerMicroBatch', 'maxBatchSize', 'maxCacheBytes', 'prefillTokens'] as const) {
    const value = options[name];
    if (value !== undefined && !(Number.isSafeInteger(value) && value >= 1)) throw new EspalierError('bad_config', `the engine's ${name} is ${value}`, { fix: 'an integer from 1 would do' });
  }
  const checkpoint = await openCheckpoint(options.model);
  const { tokenizer } = checkpoint;
  checkpoint.close();
  const thread = options.inline ? inlineThread() : workerThread();
  const { connection } = thread;
  const maxTokensPerMicroBatch = options.maxTokensPerMicroBatch ?? 1024;
  const params: OpenParams = {
    model: options.model,
    backend: options.backend,
    precision: options.precision,
    samplerWeights: options.samplerWeights,
    lora: options.lora,
    scalarHead: options.scalarHead,
    freeze: options.freeze,
    ema: options.ema,
    reference: options.reference ?? false,
    teacher: options.teacher,
    gradientCheckpointing: options.gradientCheckpointing ?? false,
    seed: options.seed ?? 0,
    maxBatchSize: options.maxBatchSize ?? 64,
    maxCacheBytes: options.maxCacheBytes ?? 2 ** 30,
    prefillTokens: options.prefillTokens ?? 2048,
    maxTokensPerMicroBatch,
  };

  let closing: Promise<void> | null = null;
  const close = () => (closing ??= thread.end());
  let info: EngineInfo;
  try {
    info = await orAborted(connection.call('open', params), options.signal);
  } catch (error) {
    await close();
    throw error;
  }
  if (info.withoutNative !== undefined) sayOnce(`espalier: the Rust kernels are not here, so the backend is ${info.backend}: ${info.withoutNative}`);
  if (info.notice !== undefined) sayOnce(info.notice);
  const learner = new EngineLearner(connection, { info, maxTokensPerMicroBatch, afterStep: garbageCollector(callersHeap), close });
  return {
    info,
    tokenizer,
    learner,
    generate: (requests, options = {}) => stream(connection, requests, options),
    score: (sequences, { signal } = {}) => sequenceLogps(learner, sequences, signal),
    save: async (dir, { dtype = 'fp32', merge = false } = {}) => void (await connection.call('exportModel', { dir, dtype, merge })),
    useEma: async (on) => void (await connection.call('useEma', { on })),
    memory: () => connection.call('memory', null),
    close,
  };
}

const said = new Set<string>();

/** One line on standard error, the first time that this process has it to say. */
function sayOnce(line: string): void {
  if (said.has(line)) return;
  said.add(line);
  console.warn(line);
}

/** The promise, or `aborted` as soon as the signal fires. */
function orAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(new EspalierError('aborted', 'the operation was aborted', { cause: signal?.reason }));
    if (signal?.aborted) abort();
    else signal?.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal?.removeEventListener('abort', abort));
  });
}

async function* stream(connection: Connection, requests: readonly GenerateRequest[], options: NonNullable<Parameters<Engine['generate']>[1]>): AsyncGenerator<Completion> {
  const { signal, teacher, forTraining, onTokens } = options;
  const ready: Completion[] = [];
  let wake = () => {};
  let ended = false;
  let failure: unknown = null;
  const stop = new AbortController(); // the caller's signal, or the loop that was left early
  const forward = () => stop.abort(signal?.reason);
  if (signal?.aborted) forward();
  else signal?.addEventListener('abort', forward, { once: true });
  connection
    .call('generate', { requests, teacher, forTraining, progress: onTokens !== undefined }, { signal: stop.signal, item: (item) => ('tokens' in item ? (ready.push(item), wake()) : onTokens?.(item)) })
    .catch((error: unknown) => (failure = error))
    .finally(() => {
      ended = true;
      wake();
    });
  try {
    for (;;) {
      while (ready.length > 0) yield ready.shift()!;
      if (ended) break;
      await new Promise<void>((resolve) => (wake = resolve));
    }
    if (failure) throw failure;
  } finally {
    signal?.removeEventListener('abort', forward);
    if (!ended) stop.abort();
  }
}

interface Thread {
  connection: Connection;
  end(): Promise<void>;
}

const closed = () => new EspalierError('closed', 'the engine is closed');

/** The caller's own thread, spoken to through a channel all the same: one path for both modes. */
function inlineThread(): Thread {
  const { port1, port2 } = new MessageChannel();
  serveEngine(portOf(port2));
  const connection = new Connection(portOf(port1));
  port2.unref();
  return {
    connection,
    end: async () => {
      await connection.call('close', null).catch(() => undefined);
      connection.fail(closed());
      port1.close();
    },
  };
}

function workerThread(): Thread {
  process.env.TF_CPP_MIN_LOG_LEVEL ??= '3'; // what fails is thrown; TensorFlow reads the process's environment, of which a thread has a copy
  // What a step leaves on the JavaScript heap is small and short-lived: a small young generation keeps resident memory flat.
  return superviseWorker(new Worker(workerEntry(), { execArgv: execArgvForWorker(process.execArgv), name: 'espalier-engine', resourceLimits: { maxYoungGenerationSizeMb: 3 } }));
}

/** Ties a connection to the life of a worker: when the worker dies, what is pending is rejected. */
export function superviseWorker(worker: Worker): Thread {
  const connection = new Connection(portOf(worker));
  worker.on('error', (cause: Error) => connection.fail(new EspalierError('internal', `the engine's thread died: ${cause.message}`, { cause })));
  worker.on('exit', (code) => connection.fail(new EspalierError('internal', `the engine's thread ended with status ${code} before it was closed`)));
  return {
    connection,
    end: async () => {
      await connection.call('close', null).catch(() => undefined);
      connection.fail(closed());
      await worker.terminate();
    },
  };
}

/** The built worker: beside this file in `dist`, and in `../dist` when this runs from source. Plain Node cannot run the TypeScript of it. */
function workerEntry(): URL {
  const candidates = ['./worker.js', '../dist/worker.js'].map((path) => new URL(path, import.meta.url));
  const found = candidates.find((url) => existsSync(url));
  if (!found) throw new EspalierError('internal', "the engine's worker is not built", { fix: 'run `npm run build`, or open the engine with `inline: true`' });
  return found;
}

/**
 * The worker runs built files: the condition that links packages to their sources is not for it. Undefined where there is nothing to leave out: the worker then
 * inherits the flags, V8's own included, which Node refuses when they are handed over.
 */
export function execArgvForWorker(execArgv: readonly string[]): string[] | undefined {
  const kept: string[] = [];
  for (let i = 0; i < execArgv.length; i++) {
    const isPair = execArgv[i] === '--conditions' || execArgv[i] === '-C';
    if (isPair && execArgv[i + 1] === '@espalier/source') i++;
    else if (!/^(--conditions|-C)=@espalier\/source$/.test(execArgv[i])) kept.push(execArgv[i]);
  }
  return kept.length === execArgv.length ? undefined : kept;
}
