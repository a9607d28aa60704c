import type { Message } from './trajectory';

export interface CompleteOptions {
  /** Default 256. */
  maxNewTokens?: number;
  /** Default 0: greedy. */
  temperature?: number;
  seed?: number;
  /** One a prompt, in place of `seed`: what a prompt is answered then does not depend on what it is batched with. */
  seeds?: readonly number[];
  stop?: readonly string[];
  signal?: AbortSignal;
}

/** A prompt, and the texts that may continue it. */
export interface OptionQuestion {
  prompt: string | readonly Message[];
  options: readonly string[];
}

/** What judges and critics are prompts over. */
export interface TextModel {
  complete(prompts: readonly (string | readonly Message[])[], options?: CompleteOptions): Promise<readonly string[]>;
  /** Log-prob of each option as the continuation of the prompt. */
  optionLogps?(prompt: string | readonly Message[], options: readonly string[]): Promise<readonly number[]>;
  /** {@link optionLogps} of many prompts at once, where that is cheaper. */
  optionLogpsAll?(questions: readonly OptionQuestion[], options?: { signal?: AbortSignal }): Promise<readonly (readonly number[])[]>;
}
