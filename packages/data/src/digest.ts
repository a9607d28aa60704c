import { createHash } from 'node:crypto';
import type { Dataset } from './dataset';

/** What tells one dataset from another. */
export type DatasetDigest = { rows: number | null; sha256: string };

/** Rows and a hash over them (of a dataset without end, over its first 256). */
export async function datasetDigest(dataset: Dataset): Promise<DatasetDigest> {
  const hash = createHash('sha256');
  const rows = Number.isFinite(dataset.size) ? dataset.size : 256;
  for (let i = 0; i < rows; i++) {
    hash.update(`${JSON.stringify(dataset.row(i))}\n`);
    if (i % 2048 === 2047) await new Promise((resolve) => setImmediate(resolve)); // the caller's event loop stays free
  }
  return { rows: Number.isFinite(dataset.size) ? dataset.size : null, sha256: hash.digest('hex') };
}
