import { access } from 'node:fs/promises';
import { basename, join, relative, resolve } from 'node:path';
import { EspalierError } from '@espalier/spec';
import type { PageData, RunData, RunStatus, StageData } from './page-data';
import { numberOf, readJson, recordOf, textOf } from './read-json';
import { readRun } from './read-run';

/** Branches within branches are followed this far. */
const deepest = 6;

/**
 * What the page of a run shows: of a trainer's run (`config.json`, `metrics.jsonl` …), or of a pipeline's (`pipeline.json`) with all of its stages.
 * @throws EspalierError `not_found` when the folder holds neither
 */
export async function readReport(dir: string): Promise<PageData> {
  const path = resolve(dir);
  const page = { version: 1 as const, title: basename(path), made: new Date().toISOString() };
  const pipeline = await readJson(join(path, 'pipeline.json'), 'pipeline.json');
  const manifest = recordOf(pipeline.value);
  if (Array.isArray(manifest['stages'])) {
    const seed = numberOf(manifest['seed']);
    return { ...page, kind: 'pipeline', ...(seed === null ? {} : { seed }), stages: await readStages(path, path, manifest['stages'], '', 0) };
  }
  if (!(await holdsRun(path))) {
    throw new EspalierError('not_found', `${dir} holds no run`, { fix: pipeline.problem ?? 'name the folder of one, such as runs/sums: it has config.json and metrics.jsonl, or pipeline.json' });
  }
  const run = await readRun(path);
  const control = await readControl(path);
  if (control) {
    const stage = (name: string, folder: string, of: RunData, metrics: StageData['metrics']): StageData => ({ name, folder, status: of.status, seconds: null, metrics, run: of });
    return { ...page, kind: 'pipeline', stages: [stage('run', '', run, control.metrics.run), stage('control', control.folder, control.run, control.metrics.control)] };
  }
  return { ...page, kind: 'run', stages: [{ name: '', folder: '', status: run.status, seconds: null, metrics: {}, run }] };
}

/** The control that was trained beside a run (`control.json`): the two stand on the page side by side, with what was measured of both at the end. */
async function readControl(path: string): Promise<{ folder: string; run: RunData; metrics: { run: StageData['metrics']; control: StageData['metrics'] } } | null> {
  const report = recordOf((await readJson(join(path, 'control.json'), 'control.json')).value);
  const folder = textOf(report['folder']);
  if (folder === null || basename(folder) !== folder || folder === '.' || folder === '..' || !(await holdsRun(join(path, folder)))) return null;
  const compute = recordOf(report['compute']);
  const numbers = (values: unknown, prefix: string) => Object.entries(recordOf(values)).flatMap(([name, value]) => (typeof value === 'number' ? [[`${prefix}${name}`, value] as const] : []));
  const of = (which: 'run' | 'control') => Object.fromEntries([...numbers(recordOf(report['held'])[which], 'eval_'), ...numbers(compute[which], 'tokens/'), ...numbers({ steps: recordOf(report['steps'])[which] }, '')]);
  return { folder, run: await readRun(join(path, folder)), metrics: { run: of('run'), control: of('control') } };
}

async function holdsRun(path: string): Promise<boolean> {
  const there = await Promise.all(['config.json', 'metrics.jsonl', 'log.jsonl'].map((name) => access(join(path, name)).then(() => true, () => false)));
  return there[1] || there[2] || (there[0] && recordOf((await readJson(join(path, 'config.json'), 'config.json')).value)['arguments'] !== undefined);
}

async function readStages(root: string, dir: string, records: readonly unknown[], prefix: string, depth: number): Promise<StageData[]> {
  const stages: StageData[] = [];
  for (const record of records.map(recordOf)) {
    const folder = textOf(record['folder']);
    if (folder === null || basename(folder) !== folder) continue; // only what lies in the run's own folder
    const path = join(dir, folder);
    const name = `${prefix}${textOf(record['name']) ?? folder}`;
    const inner = depth < deepest ? recordOf((await readJson(join(path, 'pipeline.json'), 'pipeline.json')).value)['stages'] : undefined;
    const run = await readRun(path);
    const metrics = Object.fromEntries(Object.entries(recordOf(record['metrics'])).filter((entry): entry is [string, number] => typeof entry[1] === 'number'));
    stages.push({ name, folder: relative(root, path), status: statusOf(record, run), seconds: numberOf(record['seconds']), metrics, run });
    if (Array.isArray(inner)) stages.push(...(await readStages(root, path, inner, `${name}/`, depth + 1)));
  }
  return stages;
}

/** What the pipeline says, refined by what the stage's own run says: one that was stopped stands as running in `pipeline.json`. */
function statusOf(record: Record<string, unknown>, run: RunData): RunStatus {
  if (record['status'] === 'done') return 'done';
  return run.status === 'failed' || run.status === 'stopped' ? run.status : 'running';
}
