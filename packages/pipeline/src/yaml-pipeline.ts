import { checkDatasetRef, curriculumByRef, isCurriculumRef } from '@espalier/data';
import { EspalierError, isEspalierError, type Plugin, type Stage } from '@espalier/spec';
import { snakeCase } from '@espalier/trainer';
import { branch } from './branch';
import type { PipelineConfig } from './load-config';
import { evaluateEach } from './evaluate-each';
import { nearest } from './nearest';
import { checkedPipeline, type Pipeline } from './pipeline';
import { pluginDataset } from './plugin-datasets';
import { createRegistry, type Registry } from './registry';
import { aiPreferences, cpo, critiqueRevise, distill, dpo, evaluate, grpo, kto, onlineDpo, orpo, ppo, pretrain, reinforce, rewardModel, rloo, rpt, sft, startFrom } from './stages';

type Options = Record<string, unknown>;

/** Stages that a YAML file can name, besides those of plugins. `model` takes a folder, a file or a hub id. */
const builtIn: Readonly<Record<string, (options: Options, registry: Registry) => Stage>> = {
  pretrain: (options) => pretrain(options as never) as Stage,
  sft: (options) => sft(options as never) as Stage,
  dpo: (options) => dpo(options as never) as Stage,
  kto: (options) => kto(options as never) as Stage,
  cpo: (options) => cpo(options as never) as Stage,
  orpo: (options) => orpo(options as never) as Stage,
  critique_revise: (options) => critiqueRevise(options as never) as Stage,
  ai_preferences: (options) => aiPreferences(options as never) as Stage,
  reward_model: (options) => rewardModel(options as never) as Stage,
  distill: (options) => distill(options as never) as Stage,
  grpo: (options, registry) => grpo({ ...options, registry } as never) as Stage,
  rloo: (options, registry) => rloo({ ...options, registry } as never) as Stage,
  reinforce: (options, registry) => reinforce({ ...options, registry } as never) as Stage,
  online_dpo: (options, registry) => onlineDpo({ ...options, registry } as never) as Stage,
  ppo: (options, registry) => ppo({ ...options, registry } as never) as Stage,
  rpt: (options, registry) => rpt({ ...options, registry } as never) as Stage,
  evaluate: (options, registry) => evaluate({ ...options, registry } as never) as Stage,
};

const camel = (name: string): string => name.replace(/_([a-z0-9])/g, (_, c: string) => c.toUpperCase());

/** snake_case keys to camelCase, all the way down but for what is a reward's or a schedule's own. */
function camelKeys(value: unknown, key = ''): unknown {
  if (Array.isArray(value)) return value.map((item) => camelKeys(item, key));
  if (typeof value !== 'object' || value === null || key === 'options') return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [camel(name), camelKeys(item, camel(name))]));
}

const fields = ['name', 'outputDir', 'seed', 'plugins', 'stages', 'evaluateEach'];

/**
 * Makes a pipeline of what a YAML or JSON file says:
 *
 * ```yaml
 * output_dir: runs/sums
 * seed: 1
 * plugins: [./my-rewards.ts]
 * stages:
 *   - model: SmolLM2-135M-Instruct.Q4_1.gguf
 *   - rpt: { dataset: sums.jsonl, reward: [numeric], max_steps: 60 }
 *   - evaluate: { dataset: held-out.jsonl, reward: [numeric] }
 * evaluate_each: { tasks: ['arithmetic:split=held_out,size=200', count_letters], perplexity: general } # see evaluateEach
 * ```
 * Paths are taken from the folder in which the command runs, as on the command line; those of plugins from the file's own.
 *
 * @throws EspalierError `bad_config` naming file, stage, field and what would do
 */
export async function readPipelineConfig(document: unknown, source: { path: string; baseDir: string; loadPlugin: (specifier: string, baseDir: string) => Promise<Plugin> }): Promise<PipelineConfig> {
  const { path } = source;
  const wrong = (message: string, fix?: string) => new EspalierError('bad_config', `${path}: ${message}`, fix === undefined ? {} : { fix });
  if (typeof document !== 'object' || document === null || Array.isArray(document)) throw wrong(`holds ${document === null || document === undefined ? 'nothing' : Array.isArray(document) ? 'a list' : `a ${typeof document}`}`, 'it takes `stages`, a list');
  const config: Options = {};
  for (const [key, value] of Object.entries(document)) {
    const name = camel(key);
    if (!fields.includes(name)) {
      const close = nearest(key, ['name', 'output_dir', 'seed', 'plugins', 'stages', 'evaluate_each']);
      throw wrong(`unknown field \`${key}\``, close ? `did you mean \`${close}\`?` : 'it takes name, output_dir, seed, plugins, stages and evaluate_each');
    }
    config[name] = value;
  }
  const { name, outputDir, seed, plugins = [], stages, evaluateEach: suite } = config;
  if (name !== undefined && typeof name !== 'string') throw wrong(`\`name\` is ${JSON.stringify(name)}`, 'it takes text');
  if (outputDir !== undefined && typeof outputDir !== 'string') throw wrong(`\`output_dir\` is ${JSON.stringify(outputDir)}`, 'it takes a path');
  if (seed !== undefined && !(Number.isInteger(seed) && (seed as number) >= 0)) throw wrong(`\`seed\` is ${JSON.stringify(seed)}`, 'it takes a whole number from 0 on');
  if (!Array.isArray(plugins) || plugins.some((plugin) => typeof plugin !== 'string')) throw wrong(`\`plugins\` is ${JSON.stringify(plugins)}`, 'it takes a list of packages or files');
  if (!Array.isArray(stages) || stages.length === 0) throw wrong(`\`stages\` is ${stages === undefined ? 'missing' : JSON.stringify(stages)}`, 'it takes a list such as [{ model: … }, { rpt: { … } }]');

  const loaded: Plugin[] = [];
  for (const specifier of plugins as string[]) loaded.push(await source.loadPlugin(specifier, source.baseDir));
  const registry = createRegistry(loaded);
  const made: Stage[] = [];
  for (const [i, entry] of (stages as unknown[]).entries()) {
    try {
      made.push(await makeStage(entry, registry));
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      throw new EspalierError(isEspalierError(error) ? error.code : 'bad_config', `${path}: stage ${i + 1}: ${error.message}`, { cause: error });
    }
  }
  return { ...(name === undefined ? {} : { name }), ...(outputDir === undefined ? {} : { outputDir }), ...(seed === undefined ? {} : { seed: seed as number }), plugins: loaded, pipeline: measured(checkedPipeline(made), suite, registry, wrong) };
}

/** `evaluate_each`: what is measured after every stage that gives a policy. */
function measured(line: Pipeline, suite: unknown, registry: Registry, wrong: (message: string, fix?: string) => EspalierError): Pipeline {
  if (suite === undefined) return line;
  if (typeof suite !== 'object' || suite === null || Array.isArray(suite)) throw wrong(`\`evaluate_each\` is ${JSON.stringify(suite)}`, 'it takes the options of the stage evaluate, such as { tasks: [arithmetic:size=200], perplexity: general }');
  return evaluateEach(line, { ...(camelKeys(suite) as Options), registry });
}

async function makeStage(entry: unknown, registry: Registry): Promise<Stage> {
  const pairs = typeof entry === 'string' ? [[entry, {}] as const] : typeof entry === 'object' && entry !== null && !Array.isArray(entry) ? Object.entries(entry) : [];
  if (pairs.length !== 1) throw new EspalierError('bad_config', `${JSON.stringify(entry)} is no stage`, { fix: 'one name with its options, such as rpt: { … }' });
  const [kind, raw] = pairs[0];
  if (kind === 'model') {
    if (typeof raw !== 'string') throw new EspalierError('bad_config', `\`model\` is ${JSON.stringify(raw)}`, { fix: 'a folder, a file or a hub id' });
    return startFrom(raw) as Stage;
  }
  if (kind === 'branch') return makeBranch(raw, registry);
  if (typeof raw !== 'object' || Array.isArray(raw)) throw new EspalierError('bad_config', `\`${kind}\` holds ${JSON.stringify(raw)}`, { fix: 'its options, such as dataset: rows.jsonl' });
  const options = camelKeys(raw ?? {}) as Options;
  for (const key of ['dataset', 'evalDataset', 'lmDataset', 'ptxDataset']) {
    const source = options[key];
    const given = typeof source === 'string' ? await pluginDataset(source, registry) : null;
    if (given) options[key] = given;
    else if (kind === 'rpt' && key === 'dataset' && typeof source === 'string' && isCurriculumRef(source)) curriculumByRef(source);
    else checkSource(key, source);
  }
  const factory = Object.hasOwn(builtIn, kind) ? builtIn[kind] : undefined;
  if (factory) return factory(options, registry);
  if (registry.has('stages', kind)) return registry.lookup('stages', kind)(options);
  const known = ['model', 'branch', ...Object.keys(builtIn), ...registry.list().filter((part) => part.kind === 'stages').map((part) => part.name)];
  const close = nearest(kind, known);
  throw new EspalierError('bad_config', `there is no stage \`${kind}\``, { fix: close ? `did you mean \`${close}\`?` : `there are ${known.join(', ')}` });
}

async function makeBranch(raw: unknown, registry: Registry): Promise<Stage> {
  const { name, stages, ...rest } = (typeof raw === 'object' && raw !== null && !Array.isArray(raw) ? raw : {}) as Options;
  if (typeof name !== 'string' || !Array.isArray(stages) || Object.keys(rest).length > 0) throw new EspalierError('bad_config', `\`branch\` holds ${JSON.stringify(raw)}`, { fix: 'a name and stages: branch: { name: ppo, stages: [reward_model: { … }, ppo: { … }] }' });
  const made: Stage[] = [];
  for (const entry of stages) made.push(await makeStage(entry, registry));
  return branch(name, ...made) as Stage;
}

/** A name that is neither a file nor a task is found before the first stage runs, not when its own turn comes. */
function checkSource(key: string, source: unknown): void {
  if (typeof source !== 'string') return;
  try {
    checkDatasetRef(source);
  } catch (error) {
    if (!isEspalierError(error)) throw error;
    throw new EspalierError(error.code, `\`${snakeCase(key)}\`: ${error.message}`, { cause: error });
  }
}
