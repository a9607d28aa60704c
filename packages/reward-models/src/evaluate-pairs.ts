import type { Row } from '@espalier/data';
import type { Engine } from '@espalier/engine';
import { EspalierError } from '@espalier/spec';
import { openDataset, type DatasetInput } from '@espalier/trainer';
import { accuracyBySlice, calibration, type Calibration, type PairRewards, type SliceAccuracy } from './calibration';
import { tokenizePair } from './pairs';
import { scoresAt } from './scoring';
import { tokenizing } from './tokenizing';

export interface EvaluatePairsOptions {
  /** Name of a row's slice; none: no slices. */
  sliceBy?: (row: Row) => string;
  /** Of the reliability diagram. Default 10. */
  bins?: number;
  /** Tokens that a prompt and a completion may have together; longer pairs are left out. Default: as many as the model can see. */
  maxLength?: number;
  signal?: AbortSignal;
}

export interface PairsEvaluation extends Calibration, PairRewards {
  labels: readonly number[];
  /** Rows that were too long. */
  leftOut: number;
  slices: Record<string, SliceAccuracy>;
}

const rowsAtOnce = 64;

/**
 * A reward model on held-out preferences: the rewards themselves, accuracy, calibration, accuracy by slice.
 * @throws EspalierError `bad_data` that names file, line and field; `unsupported` when the engine has no scalar head
 * @example
 * const engine = await openEngine({ model: 'my-reward-model' });
 * const { accuracy, ece, slices } = await evaluatePairs(engine, 'held-out.jsonl', { sliceBy: (row) => String(row.source) });
 */
export async function evaluatePairs(engine: Engine, rows: DatasetInput, options: EvaluatePairsOptions = {}): Promise<PairsEvaluation> {
  const dataset = await openDataset(rows, 'rows');
  if (!Number.isFinite(dataset.size)) throw new EspalierError('bad_config', `${dataset.name} has no end`, { fix: 'give the task a `size`' });
  const { tokenizer, maxLength } = tokenizing(engine, options.maxLength ?? null);
  const [chosenRewards, rejectedRewards, labels, names]: [number[], number[], number[], string[]] = [[], [], [], []];
  let leftOut = 0;
  for (let start = 0; start < dataset.size; start += rowsAtOnce) {
    const chunk = Array.from({ length: Math.min(rowsAtOnce, dataset.size - start) }, (_, i) => start + i);
    const examples = chunk.flatMap((i) => {
      const row = dataset.row(i);
      const example = tokenizePair(row, tokenizer, { maxLength, origin: dataset.origin(i) });
      if (example === null) leftOut++;
      else names.push(options.sliceBy?.(row) ?? '');
      return example === null ? [] : [example];
    });
    const sides = examples.flatMap(({ chosen, rejected, chosenAt, rejectedAt }, e) => [
      { group: String(e), tokens: chosen, at: Int32Array.of(chosenAt) },
      { group: String(e), tokens: rejected, at: Int32Array.of(rejectedAt) },
    ]);
    const scores = await scoresAt(engine, sides, options.signal);
    examples.forEach(({ softLabel }, e) => {
      chosenRewards.push(scores[2 * e][0]);
      rejectedRewards.push(scores[2 * e + 1][0]);
      labels.push(softLabel ?? 1);
    });
  }
  if (labels.length === 0) throw new EspalierError('bad_data', `no pair of ${dataset.name} fits the model`, { fix: 'shorter texts' });
  const pairs = { chosenRewards, rejectedRewards, labels };
  return { ...pairs, ...calibration(pairs, { bins: options.bins }), leftOut, slices: options.sliceBy ? accuracyBySlice(pairs, names) : {} };
}
