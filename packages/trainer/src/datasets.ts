import { createHash } from 'node:crypto';
import { datasetByRef, datasetOf, type Dataset, type Row } from '@espalier/data';
import type { Json } from './trainer-state';

/** Rows as a user gives them: in memory, as a dataset, or by what `datasetByRef` takes (a `.jsonl` file, a task's name). */
export type DatasetInput = string | Dataset | readonly Row[];

export async function openDataset(input: DatasetInput, name = 'rows'): Promise<Dataset> {
  if (typeof input === 'string') return datasetByRef(input);
  return 'row' in input ? input : datasetOf(input, name);
}

/** What tells one dataset from another: rows and a hash over them (of one without end, over its first 256). */
export async function datasetDigest(dataset: Dataset): Promise<Json> {
  const hash = createHash('sha256');
  const rows = Number.isFinite(dataset.size) ? dataset.size : 256;
  for (let i = 0; i < rows; i++) {
    hash.update(`${JSON.stringify(dataset.row(i))}\n`);
    if (i % 2048 === 2047) await new Promise((resolve) => setImmediate(resolve)); // the caller's event loop stays free
  }
  return { rows: Number.isFinite(dataset.size) ? dataset.size : null, sha256: hash.digest('hex') };
}
