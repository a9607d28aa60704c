import { readdirSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { isHubDatasetRef } from '@espalier/data';
import { chooseDataFiles } from '@espalier/data/hub';
import type { PartContext } from './part';

interface Source {
  path: string;
  config?: string;
  split: string;
}

const builders = ['json', 'csv', 'parquet'];
const isFolder = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
const isMapping = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);

/** The data file of a split in a folder, found as `datasets` finds it: by the words in the names. */
function fileIn(folder: string, { config, split }: Source, context: PartContext): string {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).map((entry) => relative(folder, join(entry.parentPath, entry.name)));
  const found = chooseDataFiles(folder, files, [], { split, ...(config === undefined ? {} : { config }) });
  if (found.length > 1) context.refuse('dataset_name', `${folder} has ${found.length} files of the split ${split}: ${found.slice(0, 4).join(', ')}`, 'put them into one, or name one');
  return join(folder, found[0]);
}

/** A source as a reference to rows: what `--dataset` takes. */
function referenceOf(source: Source, field: string, context: PartContext): string {
  const { path, config, split } = source;
  if (isFolder(path)) return fileIn(path, source, context);
  if (statSync(path, { throwIfNoEntry: false }) === undefined && isHubDatasetRef(path)) {
    if (config === undefined && split === 'train') return path;
    const repository = path.startsWith('hf://') ? path : `hf://datasets/${path}`;
    return `${repository}${config === undefined ? '' : `/${config}`}/${split}`;
  }
  if (split !== 'train') context.refuse(field, `${path} has no split ${split}: it is one file`, 'give the file of that split, or a part of this one: rows.jsonl#split=train:0.9,test:0.1;take=train');
  return path;
}

/** One entry of `datasets`. */
function sourceOf(entry: unknown, field: string, context: PartContext): Source {
  if (!isMapping(entry)) return context.refuse(field, `an entry is ${JSON.stringify(entry)}`, 'a mapping with `path`');
  const { path = entry['id'], name = entry['config'], split = 'train', data_files: files, data_dir: folder, fraction, weight, columns: _columns, ...rest } = entry;
  const [stray] = Object.keys(rest).filter((key) => key !== 'id' && key !== 'config');
  if (stray !== undefined) context.refuse(field, `an entry has \`${stray}\``, 'path, name, data_files, split, columns, fraction');
  if (typeof path !== 'string') return context.refuse(field, 'an entry has no `path`', 'a file, a folder or a dataset of the hub');
  if (typeof split !== 'string') return context.refuse(field, `\`split\` is ${JSON.stringify(split)}`, 'the name of a split');
  if (folder !== undefined && folder !== null) context.refuse(field, '`data_dir` is not read', 'path: the folder itself');
  if ([fraction, weight].some((share) => share !== undefined && share !== null && share !== 1)) context.refuse(field, 'a share of a dataset', 'path: rows.jsonl#split=kept:0.4,rest:0.6;take=kept');
  const config = typeof name === 'string' ? name : undefined;
  if (files === undefined || files === null) return { path, ...(config === undefined ? {} : { config }), split };
  if (!builders.includes(path)) context.refuse(field, `\`data_files\` of ${path}`, 'path: json, csv or parquet; or the file itself as `path`');
  const list = (isMapping(files) ? [files[split]] : [files]).flat();
  if (list.length !== 1 || typeof list[0] !== 'string') return context.refuse(field, `\`data_files\` names ${list.length} files for the split ${split}`, 'one');
  return { path: list[0], split: 'train' };
}

/** The alignment-handbook's `dataset_mixer: { name: share }` with `dataset_splits` and `dataset_configs`. */
function mixerSource(fields: Readonly<Record<string, unknown>>, context: PartContext): Source {
  const mixer = fields['dataset_mixer'];
  const entries = isMapping(mixer) ? Object.entries(mixer) : [];
  if (entries.length !== 1 || entries[0][1] !== 1) context.refuse('dataset_mixer', 'several datasets, or a share of one', 'one dataset with the share 1');
  return { path: entries[0][0], split: 'train' };
}

/**
 * `dataset_name` and its kin, or `datasets` and its kin, as `--dataset` and `--eval-dataset`.
 * @throws EspalierError `unsupported` for several datasets
 */
export function readRows(fields: Readonly<Record<string, unknown>>, context: PartContext): void {
  const mixture = (fields['dataset_mixture'] ?? {}) as Record<string, unknown>;
  if (!isMapping(mixture)) context.refuse('dataset_mixture', `it is ${JSON.stringify(mixture)}`, 'a mapping with `datasets`');
  const listed = fields['dataset_mixture'] === undefined || fields['dataset_mixture'] === null ? 'datasets' : 'dataset_mixture';
  const list = (listed === 'datasets' ? fields['datasets'] : mixture['datasets']) ?? [];
  if (!Array.isArray(list)) return context.refuse(listed, `it holds ${JSON.stringify(list)}`, 'a list of datasets');
  if (list.length > 1) context.refuse(listed, `${list.length} datasets`, 'one: put their rows into one file first, or call concatenateDatasets of @espalier/data in TypeScript');

  const text = (name: string): string | undefined => (typeof fields[name] === 'string' && fields[name] !== '' ? (fields[name] as string) : undefined);
  const splits = Array.isArray(fields['dataset_splits']) ? fields['dataset_splits'].map(String) : [];
  const [config] = [fields['dataset_configs'] ?? []].flat().map(String);
  let source: Source | undefined;
  if (list.length === 1) source = sourceOf(list[0], listed, context);
  else if (fields['dataset_mixer'] !== undefined && fields['dataset_mixer'] !== null) source = mixerSource(fields, context);
  else if (text('dataset_name') !== undefined) source = { path: text('dataset_name')!, split: text('dataset_train_split') ?? 'train', ...(text('dataset_config') === undefined ? {} : { config: text('dataset_config') }) };

  const streaming = fields['dataset_streaming'] === true || fields['streaming'] === true;
  if (streaming && context.command !== 'sft') context.refuse('dataset_streaming', `\`${context.command}\` takes rows that fit memory`, 'leave it out');
  if (streaming) context.set('datasetStreaming', true);
  if (!source) {
    // A model on the command line, rows in the file, or the other way round: what is given of the hub's still counts.
    if (text('dataset_config') !== undefined) context.set('datasetConfig', text('dataset_config'));
    if (text('dataset_train_split') !== undefined && text('dataset_train_split') !== 'train') context.set('datasetTrainSplit', text('dataset_train_split'));
    return;
  }
  if (source.config === undefined && config !== undefined) source.config = config;
  const trainSplit = splits.find((name) => name.includes('train'));
  if (trainSplit !== undefined) source.split = trainSplit;
  const rows = referenceOf(source, list.length > 0 ? listed : 'dataset_name', context);

  const share = fields['test_split_size'] ?? mixture['test_split_size'];
  const part = (take: string): string => `${rows}${rows.includes('#') ? ';' : '#'}split=train:${1 - (share as number)},test:${share as number};take=${take}`;
  const shared = share !== undefined && share !== null;
  if (shared && !(typeof share === 'number' && share > 0 && share < 1)) context.refuse('test_split_size', `it is ${JSON.stringify(share)}`, 'a share of the rows below 1');
  context.set('dataset', shared ? part('train') : rows);

  const strategy = context.given['eval_strategy'] ?? context.given['evaluation_strategy'] ?? context.given['evalStrategy'];
  const wanted = (strategy === 'steps' || strategy === 'epoch') && !('eval_dataset' in context.given) && !('evalDataset' in context.given);
  if (!wanted) return;
  if (shared) return context.set('evalDataset', part('test'));
  const held = splits.find((name) => !name.includes('train')) ?? text('dataset_test_split') ?? 'test';
  if (isFolder(source.path) || rows !== source.path || (isHubDatasetRef(source.path) && statSync(source.path, { throwIfNoEntry: false }) === undefined)) return context.set('evalDataset', referenceOf({ ...source, split: held }, 'dataset_test_split', context));
  context.note('eval_strategy', `${source.path} is one file, without a split ${held}: held-out rows are \`eval_dataset: held-out.jsonl\`, or \`test_split_size: 0.1\``);
}
