import { basename } from 'node:path';
import { parseDatasetRef, type Dataset } from '@espalier/data';
import type { Engine } from '@espalier/engine';
import { EspalierError } from '@espalier/spec';
import type { DatasetInput, WeightedReward } from '@espalier/trainer';
import { evaluatePolicy, type EvaluatePolicyOptions, type PolicyEvaluation } from './evaluate-policy';
import type { Registry } from './registry';
import { resolveRewards, type RewardInput } from './rewards';
import { openRows, type OpenRowsOptions } from './rows';
import { rewardOfRows } from './task-reward';

/** What one of several tasks is measured on: a reference to rows, or rows with what scores them. */
export type EvaluationTask =
  | string
  | {
      /** Default: of a reference, the task's name or the file's. */
      name?: string;
      dataset: DatasetInput;
      /** Default: what the rows say themselves. */
      reward?: RewardInput | readonly RewardInput[];
      /** The first rows alone. A task without an end takes 512. */
      limit?: number;
    };

/** A task that is ready. */
export interface OpenedTask {
  name: string;
  rows: Dataset;
  rewards: readonly WeightedReward[];
}

/** `count_letters:difficulty=2` → `count_letters`; `rows/held-out.jsonl` → `held-out`. */
function shortName(ref: string): string {
  const { source } = parseDatasetRef(ref);
  if (/[/\\.]/.test(source.split(':')[0])) return basename(source).replace(/\.(jsonl|ndjson|json|csv|tsv|parquet)(\.gz)?$/i, '');
  return source.split(':')[0];
}

/**
 * Opens tasks and finds their rewards, before a model is loaded. Of two with one name, both are called by their whole reference.
 * @param options.rewards for tasks that say nothing themselves
 * @throws EspalierError `bad_config` where nothing scores a task's rows, or two tasks are the same; as `openRows` and `resolveRewards`
 * @example
 * const tasks = await openTasks(['arithmetic:split=held_out,size=200', 'count_letters:size=200'], {});
 */
export async function openTasks(tasks: readonly EvaluationTask[], options: { registry?: Registry; rewards?: readonly WeightedReward[]; limit?: number; onNotice?: OpenRowsOptions['onNotice'] }): Promise<OpenedTask[]> {
  const { registry, limit, onNotice } = options;
  const opened: (OpenedTask & { whole: string })[] = [];
  for (const task of tasks) {
    const given = typeof task === 'string' ? { dataset: task as DatasetInput } : task;
    const most = given.limit ?? limit;
    const rows = await openRows(given.dataset, { endlessSize: 512, ...(most === undefined ? {} : { limit: most }), ...(onNotice ? { onNotice } : {}), registry });
    const own = 'reward' in given && given.reward !== undefined ? await resolveRewards(Array.isArray(given.reward) ? (given.reward as readonly RewardInput[]) : [given.reward as RewardInput], registry) : null;
    const ofRows = own === null ? await rewardOfRows(rows, registry) : null;
    const rewards = own ?? (ofRows ? [{ reward: ofRows, weight: 1 }] : options.rewards ?? []);
    const name = given.name ?? (typeof given.dataset === 'string' ? shortName(given.dataset) : rows.name);
    if (rewards.length === 0) throw new EspalierError('bad_config', `nothing scores the rows of task "${name}"`, { fix: 'give a reward, such as numeric; rows of the procedural tasks name theirs in a column `reward`' });
    opened.push({ name, rows, rewards, whole: given.name ?? (typeof given.dataset === 'string' ? given.dataset : rows.name) });
  }
  const named = opened.map(({ name, whole, ...task }) => ({ ...task, name: opened.filter((other) => other.name === name).length > 1 ? whole : name }));
  const twice = named.find(({ name }, i) => named.findIndex((other) => other.name === name) < i);
  if (twice) throw new EspalierError('bad_config', `task "${twice.name}" is given twice`, { fix: 'leave one out, or give each a `name`' });
  return named;
}

/** {@link evaluatePolicy} on one task after another. */
export async function evaluateTasks(engine: Engine, tasks: readonly OpenedTask[], options: Omit<EvaluatePolicyOptions, 'rows' | 'rewards'> = {}): Promise<Map<string, PolicyEvaluation>> {
  const { onProgress, ...rest } = options;
  const samples = options.samples ?? 1;
  const total = tasks.reduce((sum, { rows }) => sum + rows.size * samples, 0);
  const results = new Map<string, PolicyEvaluation>();
  let before = 0;
  for (const { name, rows, rewards } of tasks) {
    results.set(name, await evaluatePolicy(engine, { ...rest, rows, rewards, ...(onProgress ? { onProgress: (done: number) => onProgress(before + done, total) } : {}) }));
    before += rows.size * samples;
  }
  return results;
}
