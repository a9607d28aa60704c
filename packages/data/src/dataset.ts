import { basename } from 'node:path';
import { EspalierError } from '@espalier/spec';
import { readJsonl, type ReadJsonlOptions } from './jsonl';
import { Random } from './random';
import type { Row, RowOrigin } from './rows';

/** Rows by number. A procedural task may have no end: its `size` is Infinity, and row `i` is always the same. */
export interface Dataset {
  name: string;
  size: number;
  row(index: number): Row;
  /** Where a row came from, for messages. */
  origin(index: number): RowOrigin;
}

/** Rows that are in memory already. */
export function datasetOf(rows: readonly Row[], name = 'rows', origins?: readonly RowOrigin[]): Dataset {
  return {
    name,
    size: rows.length,
    row(index) {
      if (!(index >= 0 && index < rows.length)) throw new EspalierError('internal', `row ${index} of ${name} was asked for, it has ${rows.length}`);
      return rows[index];
    },
    origin: (index) => origins?.[index] ?? {},
  };
}

/**
 * All rows of a JSON Lines file, whatever its extension.
 * @throws EspalierError as {@link readJsonl}, and `bad_data` for a file without rows
 */
export async function loadJsonl(path: string, options: ReadJsonlOptions = {}): Promise<Dataset> {
  const rows: Row[] = [];
  const origins: RowOrigin[] = [];
  for await (const { row, line } of readJsonl(path, options)) {
    rows.push(row);
    origins.push({ file: path, line });
  }
  if (rows.length === 0) throw new EspalierError('bad_data', `${path} has no rows`, { fix: 'one JSON object a line' });
  return datasetOf(rows, basename(path).replace(/\.jsonl?(\.gz)?$/i, ''), origins);
}

/** A part of a dataset, by row numbers. */
export function subset(dataset: Dataset, indices: ArrayLike<number>, name = dataset.name): Dataset {
  return { name, size: indices.length, row: (index) => dataset.row(indices[index]), origin: (index) => dataset.origin(indices[index]) };
}

/**
 * Divides the rows in two without overlap, by a seeded shuffle.
 * @param heldOut how many rows to hold out, or, below 1, their share
 * @throws EspalierError `bad_config` when nothing would be left on one side, or the dataset has no end
 */
export function splitDataset(dataset: Dataset, heldOut: number, seed = 0): { train: Dataset; heldOut: Dataset } {
  if (!Number.isFinite(dataset.size)) throw new EspalierError('bad_config', `${dataset.name} has no end and cannot be split by rows`, { fix: 'the `split` of the task, or a `size`' });
  const count = heldOut < 1 ? Math.round(heldOut * dataset.size) : heldOut;
  if (!(Number.isInteger(count) && count >= 1 && count < dataset.size)) {
    throw new EspalierError('bad_config', `holding out ${heldOut} of the ${dataset.size} rows of ${dataset.name} leaves one side empty`, { fix: `from 1 to ${dataset.size - 1} rows, or a share` });
  }
  const order = new Random(seed, 0x5317).permutation(dataset.size);
  return { train: subset(dataset, order.slice(count), `${dataset.name} (train)`), heldOut: subset(dataset, order.slice(0, count), `${dataset.name} (held out)`) };
}
