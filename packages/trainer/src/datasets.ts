import { datasetByRef, datasetOf, type Dataset, type Row } from '@espalier/data';

export { datasetDigest } from '@espalier/data';

/** Rows as a user gives them: in memory, as a dataset, or by what `datasetByRef` takes (a file, a task's name, a dataset of the hub). */
export type DatasetInput = string | Dataset | readonly Row[];

export async function openDataset(input: DatasetInput, name = 'rows'): Promise<Dataset> {
  if (typeof input === 'string') return datasetByRef(input);
  return 'row' in input ? input : datasetOf(input, name);
}
