/** Words, lower-cased: letters and digits with what joins them (`don't`, `1,234.5`). */
export function wordsOf(text: string): string[] {
  return text.normalize('NFKC').toLowerCase().match(/\d+(?:[.,]\d+)*|[\p{L}\p{M}]+(?:['’\-][\p{L}\p{M}]+)*/gu) ?? [];
}

/** Sentences: at full stops, question and exclamation marks with space behind, in CJK without, and at line breaks. */
export function sentencesOf(text: string): string[] {
  return text.split(/(?<=[.!?]["')\]]?)\s+|(?<=[。！？])|\n+/u).map((sentence) => sentence.replace(/^[\s\-*•#>]+|\s+$/gu, '')).filter((sentence) => /[\p{L}\p{N}]/u.test(sentence));
}

/** Runs of `n`. */
export function ngramsOf(items: readonly (string | number)[], n: number): string[] {
  return Array.from({ length: Math.max(items.length - n + 1, 0) }, (_, i) => items.slice(i, i + n).join(' '));
}

/** Cosine of two vectors; 0 where one of them is 0. */
export function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    ab += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  return aa > 0 && bb > 0 ? ab / Math.sqrt(aa * bb) : 0;
}

/** Makes vectors of texts, one each, all of one length: whatever embeds, a local model or a service. */
export type Embed = (texts: readonly string[], options: { signal?: AbortSignal }) => Promise<readonly ArrayLike<number>[]>;
