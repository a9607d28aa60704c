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
  /**
   * An answer that reaches `maxNewTokens` is cut back to its last whole sentence, where it has one: who trains on it would teach the model to stop in
   * the middle. Default false: it is given as it is.
   */
  wholeSentences?: boolean;
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

/**
 * A text up to the end of its last whole sentence (a full stop, or one of !?。！？…, with quotes and brackets that close after it); as it is where it has none.
 * @example
 * upToSentence('It is Paris. It lies on the'); // 'It is Paris.'
 */
export function upToSentence(text: string): string {
  const ends = [...text.matchAll(/(?:[.!?…]+["'”’)\]*_]*(?=\s|$)|[。！？]+[」』”’）]*)/gu)];
  const last = ends.at(-1);
  return last === undefined ? text : text.slice(0, last.index + last[0].length);
}
