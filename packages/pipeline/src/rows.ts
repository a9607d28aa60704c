import { existsSync } from 'node:fs';
import { datasetByRef, datasetOf, fetchHubDataset, isHubDatasetRef, parseDatasetRef, type Dataset, type DatasetByRefOptions, type Row, type RowType } from '@espalier/data';
import { EspalierError } from '@espalier/spec';
import { datasetDigest, type DatasetInput } from '@espalier/trainer';
import { digestPath } from './digest';
import { pluginDataset } from './plugin-datasets';
import type { Registry } from './registry';

export interface OpenRowsOptions {
  /** Types of which every row of a file must be one. */
  accepted?: readonly RowType[];
  /** Options of a task that is named. */
  task?: Readonly<Record<string, unknown>>;
  /** At most this many rows, the first ones. */
  limit?: number;
  /** How many to take of a task without an end, when there is no `limit`; Infinity leaves it without one. Default: it is refused. */
  endlessSize?: number;
  /** Of a dataset on the hub: its configuration and split (default `train`). */
  hub?: DatasetByRefOptions['hub'];
  /** Plugins whose datasets are opened by name. */
  registry?: Registry | undefined;
  /** Told of a format of conversations that was found out. Default: a warning of the process. */
  onNotice?: (message: string) => void;
}

/**
 * Opens rows: a file (`.jsonl`, `.csv`, `.parquet` …), a task with options (`arithmetic:difficulty=2,size=512`), a dataset of a plugin or of the hub, one of these with options
 * (`rows.jsonl#split=sft:0.4,rpt:0.6;take=rpt`), a dataset, or rows in memory.
 * @throws EspalierError `not_found`, `bad_data` with file and line, `bad_config` for a task's options or a task without an end
 */
export async function openRows(source: DatasetInput, options: OpenRowsOptions = {}): Promise<Dataset> {
  const { accepted, limit, task, hub, onNotice, registry } = options;
  const given = typeof source === 'string' ? await pluginDataset(source, registry, task) : null;
  const dataset =
    given ?? (typeof source === 'string'
      ? await datasetByRef(source, { rows: { ...(accepted ? { accepted } : {}), ...(onNotice ? { onNotice } : {}) }, ...(task ? { task: { ...task } } : {}), ...(hub ? { hub } : {}) })
      : 'row' in source
        ? source
        : datasetOf(source as readonly Row[]));
  const endless = !Number.isFinite(dataset.size);
  const size = Math.min(dataset.size, limit ?? (endless ? (options.endlessSize ?? Infinity) : Infinity));
  if (!Number.isFinite(size) && options.endlessSize !== Infinity) throw new EspalierError('bad_config', `${dataset.name} has no end`, { fix: 'give it a size' });
  if (size < 1) throw new EspalierError('bad_data', `${dataset.name} has no rows`);
  return size === dataset.size ? dataset : { name: dataset.name, size, row: (i) => dataset.row(i), origin: (i) => dataset.origin(i) };
}

/** What a source of rows depends on, for a stage's fingerprint: the content of a file, the name of a task, the commit of a hub dataset, the rows themselves. */
export async function rowsFingerprint(source: DatasetInput | undefined): Promise<unknown> {
  if (source === undefined) return null;
  if (typeof source === 'string') return refFingerprint(source);
  return datasetDigest('row' in source ? source : datasetOf(source as readonly Row[]));
}

async function refFingerprint(ref: string): Promise<unknown> {
  const { source, config } = parseDatasetRef(ref);
  const options = source === ref ? {} : { options: ref.slice(source.length) };
  if (existsSync(source) && !source.startsWith('hf://')) return { file: await digestPath(source), ...options };
  if (!isHubDatasetRef(source)) return { ref };
  const { commit } = await fetchHubDataset(source, config === undefined ? {} : { config });
  return { ref, commit };
}
