import { EspalierError, throwIfAborted } from '@espalier/spec';
import { subset, type Dataset } from './dataset';
import { ngrams, rowTexts, wordsOf } from './row-text';
import { describeOrigin, type RowOrigin } from './rows';

export interface DecontaminateOptions {
  /** Words of a run that a row and an evaluation text may not share. Default 13 (Brown et al. 2020, arXiv:2005.14165, appendix C); 8 finds more (Tülu 3, arXiv:2411.15124). */
  ngram?: number;
  /** Share of an evaluation text's runs that a row must hold to be left out. Default 0: one run is enough. (Tülu 3: 0.5 of the tokens.) */
  threshold?: number;
  /** Columns of the rows whose text counts. Default: as in `dedupe`. */
  columns?: readonly string[];
  /** Columns of the evaluation sets. Default: prompts, questions, texts and messages but for the assistant's: an answer alone (`42`) tells nothing. */
  evalColumns?: readonly string[];
  signal?: AbortSignal;
  onProgress?: (done: number, total: number) => void;
}

/** A row that was left out, and why. */
export interface ContaminatedRow {
  row: number;
  origin: RowOrigin;
  /** `ngram`: a run of words is shared; `whole`: a text is the same in whole as one that is shorter than a run. */
  kind: 'ngram' | 'whole';
  /** What was shared: the words of the first such run, or the text. */
  match: string;
  /** Share of the evaluation text's runs that the row holds. */
  overlap: number;
  /** The evaluation row. */
  of: { dataset: string; row: number; origin: RowOrigin };
}

export interface DecontaminateReport {
  rows: number;
  kept: number;
  /** Evaluation texts that were looked for. */
  evaluationTexts: number;
  removed: ContaminatedRow[];
}

interface EvaluationText {
  of: ContaminatedRow['of'];
  runs: number;
}

/**
 * Leaves out rows that share text with evaluation sets: a run of `ngram` words, case, punctuation and spaces aside. An evaluation text that is shorter than a run
 * is looked for in whole: it collides with a text of a row (a column, a message) that has the same words and no others. Time is in proportion to the words.
 *
 * @throws EspalierError `bad_config` for options that make no sense, columns that are not there, a dataset without end; `aborted`
 * @example
 * const { dataset, report } = await decontaminate(train, [await loadRows('gsm8k-test.jsonl')], { ngram: 8 });
 * for (const { origin, match, of } of report.removed) console.log(origin.line, `shares "${match}" with row ${of.row} of ${of.dataset}`);
 */
export async function decontaminate(dataset: Dataset, evaluations: readonly Dataset[], options: DecontaminateOptions = {}): Promise<{ dataset: Dataset; report: DecontaminateReport }> {
  const { ngram = 13, threshold = 0, columns, evalColumns, signal, onProgress } = options;
  if (!(Number.isInteger(ngram) && ngram >= 2)) throw new EspalierError('bad_config', `\`ngram\` is ${ngram}`, { fix: 'an integer from 2; 8 and 13 are usual' });
  if (!(threshold >= 0 && threshold <= 1)) throw new EspalierError('bad_config', `\`threshold\` is ${threshold}`, { fix: 'from 0 to 1' });
  if (evaluations.length === 0) throw new EspalierError('bad_config', 'there is no evaluation set to compare with', { fix: 'at least one' });
  const endless = [dataset, ...evaluations].find(({ size }) => !Number.isFinite(size));
  if (endless) throw new EspalierError('bad_config', `${endless.name} has no end`, { fix: 'give the task a `size`' });

  const runs = new Map<string, EvaluationText[]>();
  const whole = new Map<string, EvaluationText>();
  let evaluationTexts = 0;
  for (const evaluation of evaluations) {
    for (let row = 0; row < evaluation.size; row++) {
      const of = { dataset: evaluation.name, row, origin: evaluation.origin(row) };
      for (const text of evaluationTextsOf(evaluation, row, evalColumns)) {
        const words = wordsOf(text);
        if (words.length === 0) continue;
        evaluationTexts++;
        if (words.length < ngram) {
          const key = words.join(' ');
          if (!whole.has(key)) whole.set(key, { of, runs: 1 });
          continue;
        }
        const own = new Set(ngrams(words, ngram));
        const entry = { of, runs: own.size };
        for (const run of own) {
          const there = runs.get(run);
          if (there) there.push(entry);
          else runs.set(run, [entry]);
        }
      }
    }
  }

  const kept: number[] = [];
  const removed: ContaminatedRow[] = [];
  for (let row = 0; row < dataset.size; row++) {
    if (row % 256 === 0) {
      throwIfAborted(signal);
      onProgress?.(row, dataset.size);
      await new Promise((resolve) => setImmediate(resolve));
    }
    const found = collision(rowTexts(dataset.row(row), columns, whereOf(dataset, row)), runs, whole, ngram, threshold);
    if (found) removed.push({ row, origin: dataset.origin(row), ...found });
    else kept.push(row);
  }
  onProgress?.(dataset.size, dataset.size);
  return { dataset: subset(dataset, Int32Array.from(kept), dataset.name), report: { rows: dataset.size, kept: kept.length, evaluationTexts, removed } };
}

const whereOf = (dataset: Dataset, row: number): string => describeOrigin({ file: `row ${row} of ${dataset.name}`, ...dataset.origin(row) });

function evaluationTextsOf(dataset: Dataset, row: number, columns: readonly string[] | undefined): string[] {
  const given = dataset.row(row);
  if (columns) return rowTexts(given, columns, whereOf(dataset, row));
  const asked = Array.isArray(given.messages) ? { ...given, messages: (given.messages as { role?: unknown }[]).filter(({ role }) => role !== 'assistant') } : given;
  return rowTexts(asked, ['prompt', 'question', 'text', 'messages', 'instruction', 'input'], whereOf(dataset, row));
}

function collision(texts: readonly string[], runs: ReadonlyMap<string, EvaluationText[]>, whole: ReadonlyMap<string, EvaluationText>, ngram: number, threshold: number): Omit<ContaminatedRow, 'row' | 'origin'> | null {
  const shared = new Map<EvaluationText, { match: string; count: number }>();
  const seen = new Set<string>();
  for (const text of texts) {
    const words = wordsOf(text);
    const same = words.length > 0 && words.length < ngram ? whole.get(words.join(' ')) : undefined;
    if (same) return { kind: 'whole', match: words.join(' '), overlap: 1, of: same.of };
    if (words.length < ngram) continue;
    for (const run of ngrams(words, ngram)) {
      if (seen.has(run)) continue;
      seen.add(run);
      for (const entry of runs.get(run) ?? []) {
        const before = shared.get(entry);
        if (before) before.count++;
        else shared.set(entry, { match: run, count: 1 });
      }
    }
  }
  for (const [{ of, runs: all }, { match, count }] of shared) if (count / all >= threshold) return { kind: 'ngram', match, overlap: count / all, of };
  return null;
}
