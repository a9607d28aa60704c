/**
 * Decodes a growing sequence token by token, at a cost that does not grow with its length: only the tokens since the last settled point are decoded.
 * A character whose bytes are spread over several tokens is held back until it is whole.
 */
export class IncrementalText {
  text = '';
  private settled = 0; // tokens whose text stands in `text`
  private context = 0; // where decoding starts, so that a tokenizer that looks at the previous token (leading spaces) decodes alike

  constructor(
    private readonly decode: (tokens: Int32Array) => string,
    private readonly tokens: number[],
  ) {}

  /** Takes in what was pushed to the tokens since the last call. */
  update(): string {
    const before = this.decode(Int32Array.from(this.tokens.slice(this.context, this.settled)));
    const now = this.decode(Int32Array.from(this.tokens.slice(this.context)));
    if (now.length > before.length && !now.endsWith('\uFFFD')) {
      this.text += now.slice(before.length);
      this.context = this.settled;
      this.settled = this.tokens.length;
    }
    return this.text;
  }
}

/** Where the first of the stop strings begins in the text, looking only at what a stop string that ends after `from` can touch; -1 when there is none. */
export function findStop(text: string, stops: readonly string[], from = 0): number {
  let first = -1;
  for (const stop of stops) {
    const index = text.indexOf(stop, Math.max(0, from - stop.length + 1));
    if (index >= 0 && (first < 0 || index < first)) first = index;
  }
  return first;
}
