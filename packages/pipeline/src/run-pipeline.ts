import { isAbsolute, join, resolve } from 'node:path';
import { ReportKeeper } from '@espalier/report';
import { EspalierError, throwIfAborted, type Artifacts, type Notice, type Stage, type StageContext } from '@espalier/spec';
import { isBranch, withBranchSink, type BranchSink } from './branch-sink';
import { digestValue } from './digest';
import { fingerprintOf } from './fingerprint';
import { makeFolder, readManifest, setAside, stillThere, writeManifest, type Manifest, type StageRecord } from './manifest';
import type { Pipeline } from './pipeline';
import { checkedPipeline } from './pipeline';
import type { PipelineReport, StageReport } from './report';

export type PipelineEvent =
  | { type: 'stage-start'; stage: string; index: number; total: number; dir: string; resuming: boolean }
  | { type: 'step'; stage: string; step: number; total: number; metrics: Readonly<Record<string, number>> }
  | ({ type: 'notice'; stage: string } & Notice)
  | { type: 'stage-end'; stage: string; index: number; total: number; skipped: boolean; seconds: number; metrics: Readonly<Record<string, number>> };

export interface RunPipelineOptions {
  /** The run's folder: `pipeline.json` and a folder a stage. */
  outputDir: string;
  /** Default 42. */
  seed?: number;
  /** Continue a run: finished stages whose inputs did not change are skipped, the interrupted one goes on where it stopped. */
  resume?: boolean;
  signal?: AbortSignal;
  /** Artifacts from outside, for a pipeline whose first stages need some. */
  input?: Partial<Artifacts>;
  onEvent?(event: PipelineEvent): void;
}

/** The folder of a stage, inside the run's. */
export const folderName = (index: number, name: string): string => `${String(index + 1).padStart(2, '0')}-${name.replace(/[^A-Za-z0-9._-]+/g, '-')}`;

/** Digest of everything that a stage's result depends on. */
export async function digestOfInput(stage: Stage, index: number, seed: number, have: Partial<Artifacts>): Promise<string> {
  const needed = stage.needs.map((name) => {
    const handle = have[name];
    return [name, handle === undefined ? null : 'digest' in handle ? handle.digest : digestValue(handle.values)];
  });
  return digestValue({ index, name: stage.name, seed, needed, options: await fingerprintOf(stage) });
}

function checkGiven(stage: Stage, gives: Partial<Artifacts>): void {
  const absent = stage.gives.filter((name) => gives[name] === undefined);
  if (absent.length > 0) throw new EspalierError('internal', `stage "${stage.name}" says that it gives ${absent.join(' and ')} but did not`, { fix: 'this is a defect of the stage' });
}

/**
 * Runs the stages one after another and hands on what each gives. Every finished stage is recorded in `pipeline.json` with the content digests of
 * what it took and gave; with `resume` it is skipped when those still hold. A stage whose inputs changed runs anew, and what it had left is kept
 * beside it as `….previous-1`.
 *
 * @throws EspalierError `bad_config` when the folder holds a run already and `resume` is not set, `aborted` when the signal fired
 */
export async function runPipeline(pipeline: Pipeline, options: RunPipelineOptions): Promise<PipelineReport> {
  const runDir = resolve(options.outputDir);
  const seed = options.seed ?? 42;
  const { stages } = checkedPipeline(pipeline.stages, options.input);
  const before = await readManifest(runDir);
  if (before && !options.resume) throw new EspalierError('bad_config', `${options.outputDir} holds a run already`, { fix: 'resume it, or choose another output directory' });
  await makeFolder(runDir);
  const page = new ReportKeeper(runDir); // `report.html`: one that cannot be written is no reason to fail

  const manifest: Manifest = { format: 'espalier-pipeline-v1', seed, stages: [] };
  /** What is known of later stages stays until their turn comes: their digests say whether it still holds. */
  const record = () => writeManifest(runDir, { ...manifest, stages: [...manifest.stages, ...(before?.stages.slice(manifest.stages.length, stages.length) ?? [])] });
  const have: Partial<Artifacts> = { ...options.input };
  const reports: StageReport[] = [];
  for (const [index, stage] of stages.entries()) {
    throwIfAborted(options.signal);
    const folder = folderName(index, stage.name);
    const dir = join(runDir, folder);
    const inputDigest = await digestOfInput(stage, index, seed, have);
    const recorded = before?.stages[index];
    const same = recorded !== undefined && recorded.inputDigest === inputDigest && recorded.folder === folder;
    const branching = isBranch(stage); // it looks itself which of its stages are done
    if (!branching && same && recorded.status === 'done' && (await stillThere(recorded.gives))) {
      manifest.stages.push(recorded);
      Object.assign(have, recorded.gives);
      reports.push({ name: stage.name, dir, skipped: true, seconds: recorded.seconds, metrics: recorded.metrics, gives: recorded.gives });
      options.onEvent?.({ type: 'stage-end', stage: stage.name, index, total: stages.length, skipped: true, seconds: recorded.seconds, metrics: recorded.metrics });
      continue;
    }
    const resuming = same && recorded.status === 'running';
    if (!resuming && !branching) await setAside(dir);
    await makeFolder(dir);
    const entry: StageRecord = { name: stage.name, folder, status: 'running', inputDigest, gives: {}, metrics: {}, seconds: resuming ? recorded.seconds : 0 };
    manifest.stages.push(entry);
    await record();

    options.onEvent?.({ type: 'stage-start', stage: stage.name, index, total: stages.length, dir, resuming });
    const started = performance.now();
    const input = Object.fromEntries(stage.needs.map((name) => [name, have[name]])) as Partial<Artifacts>;
    const sink: BranchSink = { onEvent: (event) => options.onEvent?.(event), reports: [] };
    const context: StageContext = {
      dir,
      seed,
      ...(options.signal ? { signal: options.signal } : {}),
      resume: resuming,
      report: (event) => options.onEvent?.({ type: 'step', ...event }),
      notice: (event) => options.onEvent?.({ type: 'notice', ...event }),
    };
    const gives = await stage.run(input, branching ? withBranchSink(context, sink) : context).catch(async (error: unknown) => {
      await page.finish();
      throw error;
    });
    checkGiven(stage, gives);
    entry.status = 'done';
    entry.gives = Object.fromEntries(Object.entries(gives).map(([name, handle]) => [name, handle.kind === 'metrics' && !isAbsolute(handle.path) ? { ...handle, path: join(dir, handle.path) } : handle])) as Partial<Artifacts>;
    entry.metrics = { ...gives.metrics?.values };
    entry.seconds += (performance.now() - started) / 1000;
    await record();
    await page.update();
    Object.assign(have, entry.gives);
    reports.push({ name: stage.name, dir, skipped: false, seconds: entry.seconds, metrics: entry.metrics, gives: entry.gives }, ...sink.reports);
    options.onEvent?.({ type: 'stage-end', stage: stage.name, index, total: stages.length, skipped: false, seconds: entry.seconds, metrics: entry.metrics });
  }
  await page.finish();
  return { dir: runDir, seed, stages: reports, artifacts: have };
}
