import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { EspalierError } from '@espalier/spec';
import type { Dataset } from './dataset';
import { parseDatasetRef } from './dataset-ref';
import { fetchHubDataset } from './hub/dataset';
import type { HubOptions } from './hub/snapshot';
import { loadRows, type LoadRowsOptions } from './load-rows';
import { concatenateDatasets } from './mixture';
import { split, splitCacheFolder } from './split';
import { isCurriculumRef } from './tasks/curriculum-ref';
import { taskFamilies, taskFamily } from './tasks/families';
import { isTaskFamily, type TaskFamily } from './tasks/family';
import { taskMixture, taskMixtureOptions, type TaskMixtureOptions } from './tasks/mixture-task';
import { parseTaskOptions } from './tasks/task-options';

/** What a reference may name as a task: the families of this package, and `mixture` of several of them. */
export type TaskName = (typeof taskFamilies)[number]['name'] | 'mixture';

/** Procedural tasks by name. */
export const tasks = {
  ...Object.fromEntries(taskFamilies.map(({ name, dataset }) => [name, dataset])),
  mixture: (options: Record<string, unknown>) => taskMixture(options as TaskMixtureOptions),
} as unknown as Readonly<Record<TaskName, (options: Record<string, unknown>) => Dataset>>;

export const taskNames = Object.keys(tasks) as TaskName[];

export interface DatasetByRefOptions {
  /** What the rows of a file must be, and how it is read; what stands behind the `#` of the reference goes before. */
  rows?: LoadRowsOptions;
  /** The same, by its older name. */
  jsonl?: LoadRowsOptions;
  /** Options of a task, which those in the reference override. */
  task?: Record<string, unknown>;
  /** Of a hub dataset: its configuration and split (default `train`), and how the hub is asked. */
  hub?: HubOptions & { config?: string; split?: string };
  /** Task families beside those of this package, which they go before. */
  families?: readonly TaskFamily[];
  /** Where row numbers of `split` are kept. Default: {@link splitCacheFolder}. */
  splitCache?: string;
}

/**
 * A dataset by what a user writes:
 *
 * - a file: `.jsonl`, `.json`, `.csv`, `.tsv` (each also `.gz`) or `.parquet`; it goes before all others;
 * - a procedural task with options (`arithmetic`, `count_letters:difficulty=3,seed=7,size=512`), or several (`mixture:families=arithmetic*2|sort_words,difficulty=1|2`);
 * - a family of a module of yours, which is run for it: `./riddles.mjs:difficulty=3`, with `family=NAME` where it exports several;
 * - a dataset on the hub: `hf://datasets/owner/name`, with `@revision` and `/config/split` or `/file` behind it, or `owner/name`;
 * - any of them with options behind `#`: `rows.csv#types=label:boolean`, `rows.jsonl#split=sft:0.4,rpt:0.6;take=rpt;seed=7` (see {@link parseDatasetRef}).
 *
 * @throws EspalierError `not_found` when it is none of these; as {@link loadRows}, the task, the hub and {@link split} besides
 * @example
 * const rows = await datasetByRef('hf://datasets/openai/gsm8k/main/train#split=sft:0.4,rpt:0.6;take=sft');
 */
export async function datasetByRef(ref: string, options: DatasetByRefOptions = {}): Promise<Dataset> {
  const { source, load, config, part } = parseDatasetRef(ref);
  const whole = await openSource(source, { ...options.jsonl, ...options.rows, ...load }, { ...options, hub: { ...options.hub, ...(config === undefined ? {} : { config }) } });
  if (part === undefined) return whole;
  return (await split(whole, part.shares, { seed: part.seed, cacheDir: options.splitCache ?? splitCacheFolder() }))[part.take];
}

async function openSource(source: string, load: LoadRowsOptions, options: DatasetByRefOptions): Promise<Dataset> {
  const file = moduleOf(source);
  if (file !== null) return openModuleTask(source, file, options);
  if (isPath(source)) return loadRows(source, load);
  const task = openTask(source, options);
  if (task !== null) return task;
  const hub = isHubDatasetRef(source) ? await hubFiles(source, options.hub) : null;
  if (hub === null) throw unknownDataset(source, options.families);
  const parts: Dataset[] = [];
  for (const file of hub.files) parts.push(await loadRows(file, load));
  return { ...(parts.length === 1 ? parts[0] : concatenateDatasets(parts)), name: hub.name };
}

/** The module that a reference to a family names; null where it names none. */
function moduleOf(source: string): string | null {
  const file = /^(.+?\.[cm]?[jt]s)(?::|$)/.exec(source)?.[1];
  return file !== undefined && existsSync(file) ? file : null;
}

/** The rows of a family that a module exports. */
async function openModuleTask(source: string, file: string, options: DatasetByRefOptions): Promise<Dataset> {
  let exported: Record<string, unknown>;
  try {
    exported = (await import(/* @vite-ignore */ pathToFileURL(resolve(file)).href)) as Record<string, unknown>;
  } catch (cause) {
    throw new EspalierError('bad_data', `${file}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause, fix: 'a JavaScript module that exports a task family' });
  }
  const families = [...new Set(Object.values(exported).flat())].filter(isTaskFamily);
  const [named, ...others] = source.slice(file.length + 1).split(',').flatMap((pair) => (/^\s*family\s*=/.test(pair) ? [pair.slice(pair.indexOf('=') + 1).trim()] : []));
  const family = named === undefined ? families[0] : families.find(({ name }) => name === named);
  if (!family || others.length > 0 || (named === undefined && families.length > 1)) {
    const names = families.map(({ name }) => name).join(', ');
    throw new EspalierError('not_found', families.length === 0 ? `${file} exports no task family` : `${file} exports ${names}, ${named === undefined ? 'and the reference names none of them' : `and no family "${named}"`}`, { fix: families.length === 0 ? 'export what defineTaskFamily({ … }) returns' : `family=${families[0].name}` });
  }
  const written = source.slice(file.length + 1).split(',').filter((pair) => !/^\s*family\s*=/.test(pair)).join(',');
  return family.dataset({ ...options.task, ...parseTaskOptions(written, source, family.options) });
}

/** The rows of a task; null where a source names none. */
function openTask(source: string, options: DatasetByRefOptions): Dataset | null {
  const [name, written] = source.includes(':') ? [source.slice(0, source.indexOf(':')), source.slice(source.indexOf(':') + 1)] : [source, ''];
  const family = taskFamily(name, options.families);
  if (family) return family.dataset({ ...options.task, ...parseTaskOptions(written, source, family.options) });
  return name === 'mixture' ? taskMixture({ ...options.task, ...parseTaskOptions(written, source, taskMixtureOptions) } as TaskMixtureOptions, options.families) : null;
}

async function hubFiles(source: string, { config, split: part, ...options }: NonNullable<DatasetByRefOptions['hub']> = {}): Promise<{ name: string; files: string[] }> {
  return fetchHubDataset(source, { ...(config === undefined ? {} : { config }), ...(part === undefined ? {} : { split: part }) }, options);
}

/** The files that a reference names, for a stream: those of a hub dataset fetched into the cache. Options behind `#` other than `config` are refused. */
export async function filesByRef(ref: string, options: Pick<DatasetByRefOptions, 'hub'> = {}): Promise<{ files: string[]; load: LoadRowsOptions }> {
  const { source, load, config, part } = parseDatasetRef(ref);
  if (part) throw new EspalierError('unsupported', `"${ref}": a stream cannot be split by rows`, { fix: 'load the rows, or stream files that are split already' });
  if (!isHubDatasetRef(source) || isPath(source)) return { files: [source], load };
  return { files: (await hubFiles(source, { ...options.hub, ...(config === undefined ? {} : { config }) })).files, load };
}

/** What is on the disk goes before what the hub may have: also a folder that is named as a dataset of the hub could be. */
const isPath = (source: string): boolean => existsSync(source) && !source.startsWith('hf://');

/** Whether a reference is written as a dataset of the hub is: `hf://datasets/…`, or `owner/name` that does not look like a path of a file. */
export function isHubDatasetRef(source: string): boolean {
  return source.startsWith('hf://') || (/^[A-Za-z0-9][\w.-]{0,95}\/[A-Za-z0-9][\w.-]{0,95}(@[\w.-]{1,200})?$/.test(source) && !/\.(jsonl|ndjson|json|csv|tsv|parquet|txt|gz|yaml)$/i.test(source));
}

/**
 * Whether a reference can be opened, without opening it: its options are read, a file is there, a task known, a hub dataset written as one.
 * @throws EspalierError `not_found`, `bad_config`
 */
export function checkDatasetRef(ref: string, { families }: Pick<DatasetByRefOptions, 'families'> = {}): void {
  const { source } = parseDatasetRef(ref);
  const [name] = source.split(':');
  if (existsSync(source) || moduleOf(source) !== null || Object.hasOwn(tasks, name) || taskFamily(name, families) || isHubDatasetRef(source)) return;
  throw unknownDataset(source, families);
}

function unknownDataset(source: string, families: readonly TaskFamily[] = []): EspalierError {
  if (isCurriculumRef(source)) return new EspalierError('unsupported', `"${source}" draws by what completions earn, and has no rows of its own`, { fix: 'reinforcement pre-training (`espalier rpt`) trains on it; `mixture:…` gives rows of several tasks' });
  const looksLikeFile = /[/\\]|\.\w+$/.test(source);
  return new EspalierError('not_found', looksLikeFile ? `there is no file ${source}` : `"${source}" is neither a file nor a task`, { fix: `a file of rows (.jsonl, .csv, .parquet), a dataset of the hub (hf://datasets/owner/name), or one of the tasks ${[...taskNames, ...families.map(({ name }) => name)].join(', ')}` });
}
