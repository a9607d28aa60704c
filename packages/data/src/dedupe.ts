import { createHash } from 'node:crypto';
import { EspalierError, throwIfAborted } from '@espalier/spec';
import { subset, type Dataset } from './dataset';
import { bandsFor, jaccard, MinHash } from './minhash';
import { hash32 } from './random';
import { ngrams, rowTexts, wordsOf } from './row-text';
import { describeOrigin, type RowOrigin } from './rows';

export interface DedupeOptions {
  /** `exact`: rows whose words are the same, but for case, punctuation and spaces; `near`: these, and rows as similar as `threshold`. Default `near`. */
  method?: 'exact' | 'near';
  /** Jaccard similarity of the sets of word n-grams from which rows count as one. Default 0.8 (Lee et al. 2022, arXiv:2107.06499). */
  threshold?: number;
  /** Words of an n-gram. Default 5 (the same paper). */
  ngram?: number;
  /** Length of a signature. Default 128. */
  permutations?: number;
  seed?: number;
  /** Columns whose text counts. Default: those of TRL's formats, and the usual names of questions and answers. */
  columns?: readonly string[];
  signal?: AbortSignal;
  onProgress?: (done: number, total: number) => void;
}

/** A row that was left out, and why. */
export interface RemovedRow {
  row: number;
  origin: RowOrigin;
  kind: 'exact' | 'near';
  /** Jaccard similarity to the row that stays: 1 for an exact one. */
  similarity: number;
  /** The row that stays. */
  of: { row: number; origin: RowOrigin };
}

export interface DedupeReport {
  method: 'exact' | 'near';
  rows: number;
  kept: number;
  removed: RemovedRow[];
}

/** Rows of one bucket that are compared at most: what keeps the time in proportion to the rows where thousands share a boilerplate. */
const bucketLimit = 64;

/**
 * Leaves out rows that repeat an earlier one. Candidates for near duplicates are found by MinHash signatures in bands (LSH) and compared by their true Jaccard
 * similarity, so that nothing is left out which is less similar than the threshold; at the threshold, one pair in a thousand is missed, above it fewer. A row is
 * compared with rows that stay: the first of a group stays. The same rows, options and seed give the same result. Time is in proportion to the words.
 *
 * @throws EspalierError `bad_config` for options that make no sense, columns that are not there, a dataset without end; `aborted`
 * @example
 * const { dataset, report } = await dedupe(await loadRows('rows.jsonl'), { threshold: 0.7 });
 * for (const { origin, similarity, of } of report.removed) console.log(origin.line, 'repeats', of.origin.line, similarity);
 */
export async function dedupe(dataset: Dataset, options: DedupeOptions = {}): Promise<{ dataset: Dataset; report: DedupeReport }> {
  const { method = 'near', threshold = 0.8, ngram = 5, permutations = 128, seed = 0, columns, signal, onProgress } = options;
  if (!(threshold > 0 && threshold <= 1)) throw new EspalierError('bad_config', `\`threshold\` is ${threshold}`, { fix: 'above 0, at most 1' });
  if (!(Number.isInteger(ngram) && ngram >= 1)) throw new EspalierError('bad_config', `\`ngram\` is ${ngram}`, { fix: 'an integer from 1' });
  if (!Number.isFinite(dataset.size)) throw new EspalierError('bad_config', `${dataset.name} has no end`, { fix: 'give the task a `size`' });
  const { bands, rows } = bandsFor(threshold, permutations);
  const minHash = new MinHash(permutations, seed);
  const wordsAt = (row: number) => rowTexts(dataset.row(row), columns, describeOrigin({ file: `row ${row} of ${dataset.name}`, ...dataset.origin(row) })).map(wordsOf);
  const shinglesAt = (words: readonly (readonly string[])[]) => new Set(ngrams(words.flat(), ngram));
  const exact = new Map<string, number>();
  const buckets = new Map<string, number[]>();
  const signatures = new Map<number, Uint32Array>(); // of the rows that stay
  // whose signatures agree less than this are not as similar, by four standard deviations: they need not be compared in full
  const least = (threshold - 4 * Math.sqrt((threshold * (1 - threshold)) / permutations)) * permutations;
  const kept: number[] = [];
  const removed: RemovedRow[] = [];
  const leaveOut = (row: number, kind: RemovedRow['kind'], similarity: number, other: number) => void removed.push({ row, origin: dataset.origin(row), kind, similarity, of: { row: other, origin: dataset.origin(other) } });

  for (let row = 0; row < dataset.size; row++) {
    if (row % 256 === 0) {
      throwIfAborted(signal);
      onProgress?.(row, dataset.size);
      await new Promise((resolve) => setImmediate(resolve)); // the caller's event loop stays free
    }
    const words = wordsAt(row);
    const key = createHash('sha256').update(words.map((text) => text.join(' ')).join('\n')).digest('base64');
    const same = exact.get(key);
    if (same !== undefined) {
      leaveOut(row, 'exact', 1, same);
      continue;
    }
    if (method === 'near' && words.flat().length > 0) {
      const shingles = shinglesAt(words);
      const signature = minHash.signature(shingles);
      const places = Array.from({ length: bands }, (_, b) => `${b}:${hash32(...signature.subarray(b * rows, (b + 1) * rows))}:${signature[b * rows]}`);
      const candidates = [...new Set(places.flatMap((place) => buckets.get(place) ?? []))].sort((a, b) => a - b);
      const near = candidates.filter((other) => agreements(signature, signatures.get(other)!) >= least);
      const found = near.map((other) => ({ other, similarity: jaccard(shingles, shinglesAt(wordsAt(other))) })).find(({ similarity }) => similarity >= threshold);
      if (found) {
        leaveOut(row, 'near', found.similarity, found.other);
        continue;
      }
      signatures.set(row, signature);
      for (const place of places) {
        const bucket = buckets.get(place);
        if (!bucket) buckets.set(place, [row]);
        else if (bucket.length < bucketLimit) bucket.push(row);
      }
    }
    exact.set(key, row);
    kept.push(row);
  }
  onProgress?.(dataset.size, dataset.size);
  return { dataset: subset(dataset, Int32Array.from(kept), dataset.name), report: { method, rows: dataset.size, kept: kept.length, removed } };
}

function agreements(a: Uint32Array, b: Uint32Array): number {
  let same = 0;
  for (let k = 0; k < a.length; k++) if (a[k] === b[k]) same++;
  return same;
}
