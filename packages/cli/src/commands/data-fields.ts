import { existsSync } from 'node:fs';
import { arithmeticOptions, isHubDatasetRef, parseDatasetRef, taskNames } from '@espalier/data';
import { configuredPlugins, createRegistry, loadPlugin, openRows, type OpenRowsOptions, type Registry } from '@espalier/pipeline';
import { EspalierError } from '@espalier/spec';
import type { Dataset } from '@espalier/data';
import { z } from 'zod';
import { kebabCase } from '../fields';

const taskHelp: Readonly<Record<string, string>> = {
  difficulty: '1 (easiest) to 5; what they mean stands in the README of @espalier/data',
  min: 'smallest operand of arithmetic',
  max: 'largest operand of arithmetic',
  terms: 'operands of an arithmetic problem',
  operations: 'of arithmetic: among + - *',
  seed: 'another seed, other problems',
  size: 'rows, all different; default: no end (eval: 512)',
  split: 'problems of one part are never in the other, whatever the seed',
  heldOutFraction: 'share of the problems that is held out',
  template: 'the question; {question} stands for the problem, {expression} for that of arithmetic',
  format: 'prompts as messages or as plain text',
  withCompletion: 'add the right answer as completion',
};

const taskName = (option: string): string => `task${option[0].toUpperCase()}${option.slice(1)}`;

/** `--task-difficulty` and so on: the options of the procedural tasks, none of them set unless given. */
const taskFields: Record<string, z.ZodType> = Object.fromEntries(
  Object.entries(arithmeticOptions.shape).map(([name, schema]) => {
    let inner: z.ZodType = name === 'template' ? z.string() : schema; // its placeholder differs by family
    while (inner instanceof z.ZodDefault || inner instanceof z.ZodOptional) inner = inner.unwrap() as z.ZodType;
    return [taskName(name), inner.optional().describe(`--task: ${taskHelp[name] ?? name}`)];
  }),
);

/** Flags that say which rows a command works on. */
export const dataFields = {
  dataset: z.string().min(1).optional().describe("rows in one of TRL's formats: a .jsonl, .json, .csv, .tsv or .parquet file, a dataset of the hub (owner/name, hf://datasets/owner/name/config/split), or a task such as arithmetic:difficulty=2,size=512 or code:size=200; #split=sft:0.4,rpt:0.6;take=rpt behind it takes a part"),
  datasetConfig: z.string().min(1).optional().describe('configuration of a dataset of the hub'),
  datasetTrainSplit: z.string().min(1).optional().describe('its split; default: train'),
  task: z.enum(taskNames as unknown as [string, ...string[]]).optional().describe('rows made by a procedural task, in place of --dataset'),
  ...taskFields,
};

export interface DataValues {
  dataset?: string | undefined;
  datasetConfig?: string | undefined;
  datasetTrainSplit?: string | undefined;
  task?: string | undefined;
}

/** The options of `--task`, without the prefix. */
function taskOptions(values: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.keys(arithmeticOptions.shape)
      .map((name) => [name, values[taskName(name)]] as const)
      .filter(([, value]) => value !== undefined),
  );
}

/**
 * Opens `--dataset` or `--task`.
 * @param more options that a command adds to those of a task, where they are not given
 */
export async function openData(values: DataValues & Record<string, unknown>, options: OpenRowsOptions & { more?: Record<string, unknown> } = {}): Promise<Dataset> {
  const { more, ...open } = options;
  const given = taskOptions(values);
  if (values.dataset !== undefined && values.task !== undefined) throw new EspalierError('usage', '--dataset and --task are both given', { fix: 'one of them' });
  if (values.dataset === undefined && values.task === undefined) throw new EspalierError('usage', '--dataset is missing', { fix: `give a file of rows or a dataset of the hub, or --task ${taskNames.join('|')}` });
  const [stray] = Object.keys(given);
  if (values.task === undefined && stray !== undefined) throw new EspalierError('usage', `--${kebabCase(taskName(stray))} is given without --task`, { fix: 'add --task, or leave it out' });
  const plugins = values['plugin'] as readonly string[] | undefined;
  const registry = open.registry ?? (values.dataset === undefined || existsSync(values.dataset) ? undefined : await openRegistry(plugins));
  return openRows((values.dataset ?? values.task)!, { ...open, registry, task: { ...more, ...given }, ...hubOptions(values) });
}

/** `--dataset-config` and `--dataset-train-split`. @throws EspalierError `usage` when the rows are not the hub's */
export function hubOptions(values: DataValues): Pick<OpenRowsOptions, 'hub'> {
  const { dataset, datasetConfig: config, datasetTrainSplit: split } = values;
  if (config === undefined && split === undefined) return {};
  if (dataset === undefined || !isHubDatasetRef(parseDatasetRef(dataset).source)) throw new EspalierError('usage', `--dataset-${config === undefined ? 'train-split' : 'config'} is given, and --dataset is no dataset of the hub`, { fix: 'such as --dataset openai/gsm8k --dataset-config main' });
  return { hub: { ...(config === undefined ? {} : { config }), ...(split === undefined ? {} : { split }) } };
}

export const pluginFields = {
  plugin: z.array(z.string().min(1)).optional().describe('plugins to load: package names or files; may be given several times'),
};

/** A registry with the plugins that the folder's `espalier.config.ts` registers, and those of `--plugin`. */
export async function openRegistry(plugins: readonly string[] | undefined): Promise<Registry> {
  const registry: Registry = createRegistry((await configuredPlugins())?.plugins ?? []);
  for (const specifier of plugins ?? []) {
    const plugin = await loadPlugin(specifier);
    if (!registry.plugins.some(({ name }) => name === plugin.name)) registry.register(plugin);
  }
  return registry;
}
