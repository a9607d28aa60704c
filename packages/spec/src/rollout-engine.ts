import type { WeightsHandle } from './learner';
import type { FinishReason } from './trajectory';

/** How to sample. Defaults: temperature 1, no filtering, 16 new tokens. */
export interface SamplingOptions {
  maxNewTokens?: number;
  minNewTokens?: number;
  /** 0 is greedy. */
  temperature?: number;
  /** 0: off. */
  topK?: number;
  /** 1: off. */
  topP?: number;
  /** Tokens less likely than `minP` times the likeliest are dropped. 0: off. */
  minP?: number;
  repetitionPenalty?: number;
  /** Generation ends when the text contains one of these; the text is cut before it. */
  stop?: readonly string[];
  /** Ends generation besides the model's own end-of-sequence tokens. */
  stopTokens?: readonly number[];
  /** Keep going through the model's end-of-sequence tokens. */
  ignoreEos?: boolean;
}

export interface GenerateRequest {
  id: string;
  prompt: Int32Array;
  /** Completions of this prompt; the prompt is prefilled once for all of them. Default 1. */
  n?: number;
  /** Sample `k` of this request is determined by (seed, k, position), whatever it is batched with. */
  seed: number;
  sampling?: SamplingOptions;
  /** Give the log-probs of this many of the likeliest tokens at each position. Default 0: none. Engines that cannot leave them out. */
  topLogps?: number;
}

export interface Completion {
  requestId: string;
  /** 0 .. n - 1 */
  index: number;
  /** New tokens only, the stop token included when it was sampled. */
  tokens: Int32Array;
  /** Log-prob (nats) of each new token under the distribution it was sampled from without filters (temperature applied); null when the engine has none. */
  logps: Float32Array | null;
  /** The likeliest tokens at each position, likeliest first, as many as the request asked for: `[T * k]`, log-probs under the distribution of `logps`. */
  topLogps?: { tokens: Int32Array; logps: Float32Array };
  /** Decoded without special tokens, cut before a stop string. */
  text: string;
  finishReason: FinishReason;
  version: number;
}

export interface RolloutEngine {
  specVersion: 'v1';
  name: string;
  /** `rounded`: it samples with the weights that it was given in a coarser format, and its log-probs are those of that. */
  capabilities: { tokenIds: boolean; logps: boolean; sync: 'memory' | 'adapter' | 'full' | 'none'; rounded?: boolean };
  /**
   * Completions in the order in which they finish. `forTraining`: a learner will train on them before the weights change; an engine that shares its weights may keep what
   * that learner would compute again. Engines may ignore it.
   */
  generate(requests: readonly GenerateRequest[], options?: { signal?: AbortSignal; forTraining?: boolean }): AsyncIterable<Completion>;
  /** Log-prob of each token given those before it; entry 0 of each is NaN. */
  score?(sequences: readonly Int32Array[]): Promise<readonly Float32Array[]>;
  /** Log-prob (nats, temperature 1) of each continuation of each prompt, summed over its tokens; a prompt is computed once for all of its own. */
  scoreContinuations?(questions: readonly { prompt: Int32Array; continuations: readonly Int32Array[] }[], options?: { signal?: AbortSignal }): Promise<readonly (readonly number[])[]>;
  sync?(weights: WeightsHandle): Promise<void>;
  close(): Promise<void>;
}
