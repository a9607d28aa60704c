import { EspalierError, type TokenBatch } from '@espalier/spec';
import type { Normalizer } from './aggregation';
import { rowsOf, type Rows } from './rows';

/** 1 for each sequence that others continue (a shared prompt), 0 for the rest. [S] */
function sharedPrefixes(batch: TokenBatch): Uint8Array {
  const shared = new Uint8Array(batch.offsets.length - 1);
  batch.prefixOf?.forEach((prefix) => {
    if (prefix >= 0) shared[prefix] = 1;
  });
  return shared;
}

/**
 * The actions of a batch as ragged rows: one row a sequence, sequences that are only the prefix of others left out. A sequence without actions
 * is an empty row. Row `r` of the result is sequence `sequences[r]`.
 * @throws EspalierError `bad_data` when `actionIndex` does not ascend or leaves the batch
 */
export function actionRows(batch: TokenBatch): Rows & { sequences: Int32Array } {
  const { offsets, actionIndex } = batch;
  const shared = sharedPrefixes(batch);
  const lengths: number[] = [];
  const sequences: number[] = [];
  let action = 0;
  for (let s = 0; s + 1 < offsets.length; s++) {
    const first = action;
    while (action < actionIndex.length && actionIndex[action] < offsets[s + 1]) {
      if (actionIndex[action] < (action > 0 ? actionIndex[action - 1] + 1 : offsets[s])) throw new EspalierError('bad_data', `actionIndex[${action}] = ${actionIndex[action]} does not ascend`);
      action++;
    }
    if (shared[s] && action === first) continue;
    lengths.push(action - first);
    sequences.push(s);
  }
  if (action !== actionIndex.length) throw new EspalierError('bad_data', `actionIndex[${action}] = ${actionIndex[action]} is past the last token (${offsets[offsets.length - 1]} tokens)`);
  return { ...rowsOf(lengths), sequences: Int32Array.from(sequences) };
}

/** The counts of a batch that is a whole optimiser step: its actions, and its sequences without those that are only the prefix of others. */
export function batchNormalizer(batch: Pick<TokenBatch, 'offsets' | 'actionIndex' | 'prefixOf'>): Normalizer {
  const rows = actionRows({ ...batch, tokens: new Int32Array(0), columns: {}, normalizer: { tokens: 0, sequences: 0 } });
  return { tokens: rows.size, sequences: rows.count };
}
