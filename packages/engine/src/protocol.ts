import type { MessagePort, Worker } from 'node:worker_threads';
import type { Completion, GenerateRequest, Metrics, OptimOptions, OutputName, OutputOptions, Outputs } from '@espalier/spec';
import type { DecoderConfig, LoraOptions as AdapterOptions } from '@espalier/models';
import type { TokenEvent } from './decode/decoding';
import type { WireError } from './wire-error';

/** The part of a token batch that the model needs: no columns, no pairs. */
export interface BatchPart {
  tokens: Int32Array; // [T]
  offsets: Int32Array; // [S + 1]
  prefixOf: Int32Array; // [S]
  actionIndex: Int32Array; // [A]
}

/** NEFTune's noise on the embeddings of a part. */
export interface EmbeddingNoise {
  alpha: number;
  seed: number;
  /** Sequence of the whole batch that each sequence of the part is. */
  sequences: Int32Array; // [S]
  /** Of each sequence, its prefix included. */
  lengths: Int32Array; // [S]
}

/** Which adapter to train instead of the whole model: rank, alpha, targets, in PEFT's terms and with its defaults. */
export type LoraOptions = Omit<AdapterOptions, 'seed'>;

export interface OpenParams {
  model: string;
  backend?: string;
  precision?: 'bf16' | 'fp32';
  samplerWeights?: 'int8';
  lora?: LoraOptions;
  scalarHead?: boolean;
  freeze?: { layers: number };
  ema?: { decay: number };
  reference: boolean;
  teacher?: string;
  gradientCheckpointing: boolean;
  seed: number;
  maxBatchSize: number;
  maxCacheBytes: number;
  prefillTokens: number;
  maxTokensPerMicroBatch: number;
}

export interface EngineInfo {
  /** Distinct for every engine: which one a `memory` weights handle belongs to. */
  id: string;
  backend: string;
  /** Why the Rust kernels do not serve, where they were looked for and not found. */
  withoutNative?: string;
  /** One line for the user, where another backend than the one that was asked for serves. */
  notice?: string;
  precision: 'bf16' | 'fp32';
  /** Where it generates with weights that are rounded further than those of training. */
  samplerWeights?: 'int8';
  config: DecoderConfig;
  parameterCount: number;
  /** Fewer than `parameterCount` with LoRA. */
  trainableCount: number;
  eosTokenIds: readonly number[];
  maxPositions: number;
  /** The teacher, where there is one. */
  teacher?: { parameterCount: number; maxPositions: number };
}

export interface EngineMemory {
  numTensors: number;
  /** Of all tensors, in bytes. */
  numBytes: number;
  /** Of the whole process, in bytes. */
  rss: number;
  /** JavaScript heap of the engine's thread, in bytes; tensors are outside it. Garbage that is not yet collected included. */
  heapUsed: number;
}

/** Every call that crosses the border, with what goes in and what comes back. */
export interface Calls {
  open: { params: OpenParams; result: EngineInfo };
  forward: { params: { part: BatchPart; needs: readonly OutputName[]; temperature: number; reference: boolean; precision?: 'fp32'; outputOptions?: OutputOptions; noise?: EmbeddingNoise }; result: Outputs };
  tapeForward: { params: { part: BatchPart; needs: readonly OutputName[]; temperature: number; outputOptions?: OutputOptions; noise?: EmbeddingNoise }; result: { tape: number; outputs: Outputs } };
  tapeBackward: { params: { tape: number; grads: Outputs }; result: null };
  tapeDispose: { params: { tape: number }; result: null };
  /** Counts a contribution whose derivative is zero everywhere. */
  addZero: { params: null; result: null };
  /** Forgets the accumulated gradient. */
  clearGradients: { params: null; result: null };
  optimStep: { params: OptimOptions; result: Metrics };
  mixReference: { params: { alpha: number }; result: null };
  useEma: { params: { on: boolean }; result: null };
  publish: { params: null; result: { version: number; digest: string; id: string } };
  save: { params: { dir: string }; result: null };
  exportModel: { params: { dir: string; dtype: 'fp32' | 'bf16' | 'fp16'; merge: boolean }; result: null };
  load: { params: { dir: string }; result: null };
  /** Completions come as items, with `progress` the tokens of a step too; the result comes after the last. `forTraining`: what is computed of them is kept for the training that follows. */
  generate: { params: { requests: readonly GenerateRequest[]; teacher?: boolean; progress?: boolean; forTraining?: boolean }; result: null };
  memory: { params: null; result: EngineMemory };
  close: { params: null; result: null };
}

export type Method = keyof Calls;
export type StreamItem = Completion | readonly TokenEvent[];

/** From the caller to the engine's thread. */
export type ToEngine = { [M in Method]: { kind: 'call'; id: number; method: M; params: Calls[M]['params'] } }[Method] | { kind: 'abort'; id: number };

/** From the engine's thread to the caller. */
export type FromEngine =
  | { kind: 'item'; id: number; item: StreamItem }
  | { kind: 'done'; id: number; result: Calls[Method]['result'] }
  | { kind: 'failed'; id: number; error: WireError };

/** What both sides need of a `MessagePort` or a `Worker`. */
export interface Port {
  post(message: FromEngine | ToEngine, transfer?: readonly ArrayBuffer[]): void;
  listen(listener: (message: unknown) => void): void;
  /** Whether the port keeps the process alive. */
  ref(): void;
  unref(): void;
}

export function portOf(channel: MessagePort | Worker): Port {
  const port = channel as MessagePort; // a worker has the same methods
  return {
    post: (message, transfer) => port.postMessage(message, transfer as ArrayBuffer[] | undefined),
    listen: (listener) => void port.on('message', listener),
    ref: () => port.ref(),
    unref: () => port.unref(),
  };
}

/** The buffers behind typed arrays that the sender has no more use for. Each buffer once, and only buffers that the array fills alone. */
export function transferable(arrays: Iterable<ArrayBufferView | null | undefined>): ArrayBuffer[] {
  const buffers = new Set<ArrayBuffer>();
  for (const array of arrays) if (array && array.buffer instanceof ArrayBuffer && array.byteLength === array.buffer.byteLength && array.byteLength > 0) buffers.add(array.buffer);
  return [...buffers];
}
