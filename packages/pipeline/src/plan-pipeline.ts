import { join, resolve } from 'node:path';
import { EspalierError, isEspalierError, type Artifacts, type Stage } from '@espalier/spec';
import type { PlannedModel, RunPlan } from '@espalier/trainer';
import { isBranch, stagesOf } from './branch-sink';
import { readManifest, stillThere } from './manifest';
import { checkedPipeline, type Pipeline } from './pipeline';
import { digestOfInput, folderName } from './run-pipeline';
import { planOf, type PlanContext, type PlannedStage } from './stage-plan';

/** What would become of one stage. */
export interface StagePlan {
  /** Of a stage in a branch: `branch/stage`. */
  name: string;
  /** `kept`: done, and nothing that it depends on changed. `resumes`: it was interrupted. `runs`: from its beginning. */
  action: 'kept' | 'resumes' | 'runs';
  needs: readonly string[];
  gives: readonly string[];
  /** Of a stage that trains. */
  run: RunPlan | null;
  /** What it says of itself besides. */
  note: string | null;
}

export interface PlanPipelineOptions {
  /** A run's folder, to say what of it is done. */
  outputDir?: string;
  /** Default 42. */
  seed?: number;
  input?: Partial<Artifacts>;
  /** Ask the stages what they would do: rows are read for it, and the model's configuration. Default true; false only says what is done already. */
  detail?: boolean;
}

/**
 * What `runPipeline` would do, stage by stage, those of branches included: nothing is run, nothing is written. Whether a stage behind one that runs is kept shows only
 * when that one has run: it is planned as running.
 * @throws EspalierError as making the stages' trainers does: rows that are wrong, a model that is not there
 */
export async function planPipeline(pipeline: Pipeline, options: PlanPipelineOptions = {}): Promise<readonly StagePlan[]> {
  const { stages } = checkedPipeline(pipeline.stages, options.input);
  const plans: StagePlan[] = [];
  await planLine(stages, { runDir: options.outputDir === undefined ? null : resolve(options.outputDir), seed: options.seed ?? 42, have: { ...options.input }, model: null, prefix: '', detail: options.detail ?? true }, plans);
  return plans;
}

interface Line {
  /** Null: there is no run yet. */
  runDir: string | null;
  seed: number;
  /** Artifacts that exist; those of stages that run are not among them. */
  have: Partial<Artifacts>;
  model: PlannedModel | null;
  prefix: string;
  detail: boolean;
}

async function planLine(stages: readonly Stage[], line: Line, plans: StagePlan[]): Promise<void> {
  const manifest = line.runDir === null ? null : await readManifest(line.runDir);
  const have = { ...line.have };
  let { model } = line;
  for (const [index, stage] of stages.entries()) {
    const recorded = manifest?.stages[index];
    const known = stage.needs.every((name) => have[name] !== undefined);
    const same = recorded !== undefined && known && recorded.folder === folderName(index, stage.name) && recorded.inputDigest === (await digestOfInput(stage, index, line.seed, have));
    const done = same && recorded.status === 'done' && (await stillThere(recorded.gives));
    const plan = line.detail && !(done && !isBranch(stage)) ? await planned(stage, line.prefix + stage.name, { model, seed: line.seed }) : null;
    plans.push({ name: line.prefix + stage.name, action: isBranch(stage) ? 'runs' : done ? 'kept' : same && recorded.status === 'running' ? 'resumes' : 'runs', needs: stage.needs, gives: stage.gives, run: plan?.run ?? null, note: plan?.note ?? null });
    if (isBranch(stage)) {
      const inside = plans.length;
      await planLine(stagesOf(stage), { ...line, runDir: line.runDir === null ? null : join(line.runDir, folderName(index, stage.name)), have, model, prefix: `${line.prefix}${stage.name}/` }, plans);
      if (plans.slice(inside).every(({ action }) => action === 'kept')) plans[inside - 1].action = 'kept';
    }
    if (done) Object.assign(have, recorded.gives);
    else for (const name of stage.gives) delete have[name];
    if (line.detail && done && stage.needs.length === 0) model = (await planOf(stage, { model, seed: line.seed }).catch(() => null))?.model ?? model;
    model = plan?.model ?? model;
  }
}

/** What goes wrong says in which stage. */
async function planned(stage: Stage, name: string, context: PlanContext): Promise<PlannedStage | null> {
  try {
    return await planOf(stage, context);
  } catch (error) {
    if (!isEspalierError(error) || error.message.startsWith('stage "')) throw error;
    throw new EspalierError(error.code, `stage "${name}": ${error.message}`, { cause: error });
  }
}
