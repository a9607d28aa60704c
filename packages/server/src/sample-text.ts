import { IncrementalText } from '@espalier/engine/local';
import type { Tokenizer } from '@espalier/models';

/**
 * The text of a sample as it grows, without what may still be taken back: half a character, or the beginning of a stop string.
 */
export class SampleText {
  private readonly tokens: number[] = [];
  private readonly text: IncrementalText;
  private told = 0; // characters

  constructor(
    tokenizer: Pick<Tokenizer, 'decode'>,
    private readonly stops: readonly string[],
  ) {
    this.text = new IncrementalText((tokens) => tokenizer.decode(tokens, { skipSpecialTokens: true }), this.tokens);
  }

  /** Tokens taken in. */
  get count(): number {
    return this.tokens.length;
  }

  /** What a further token makes certain. */
  push(token: number): string {
    this.tokens.push(token);
    const text = this.text.update();
    const end = text.length - heldBack(text, this.stops);
    const certain = text.slice(this.told, Math.max(end, this.told));
    this.told = Math.max(end, this.told);
    return certain;
  }

  /** What of the whole text has not been told. */
  rest(whole: string): string {
    const rest = whole.slice(this.told);
    this.told = Math.max(this.told, whole.length);
    return rest;
  }
}

/** Characters at the end of a text that are the beginning of a stop string, or the half of a surrogate pair. */
export function heldBack(text: string, stops: readonly string[]): number {
  const last = text.charCodeAt(text.length - 1);
  let most = last >= 0xd800 && last < 0xdc00 ? 1 : 0;
  for (const stop of stops)
    for (let length = Math.min(stop.length, text.length); length > most; length--)
      if (text.endsWith(stop.slice(0, length))) most = length;
  return most;
}
