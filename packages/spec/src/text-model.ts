import type { Message } from './trajectory';

/** What judges and critics are prompts over. */
export interface TextModel {
  complete(prompts: readonly (string | readonly Message[])[], options?: { maxNewTokens?: number; temperature?: number; seed?: number; stop?: readonly string[]; signal?: AbortSignal }): Promise<readonly string[]>;
  /** Log-prob of each option as the continuation of the prompt. */
  optionLogps?(prompt: string | readonly Message[], options: readonly string[]): Promise<readonly number[]>;
}
