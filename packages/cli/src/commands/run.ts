import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { evaluationTable, formatTable, loadConfig, planPipeline, reportTable, runPipeline, type StagePlan } from '@espalier/pipeline';
import { EspalierError, isEspalierError } from '@espalier/spec';
import { z } from 'zod';
import { buildCommand } from '../command';
import { beginDryRun, reportPipelinePlan } from '../plan/dry-run';
import { watchPipeline } from '../watch-pipeline';

const shape = {
  file: z.string().min(1).describe('espalier.config.ts, or a .yaml or .json file'),
  outputDir: z.string().min(1).optional().describe("the run's folder; default: what the file says, or a new one under runs/"),
  seed: z.int().min(0).max(0xffffffff).optional().describe('overrides the file; default 42'),
  dryRun: z.boolean().default(false).describe('print the plan of every stage (batches, steps, memory, time) and end: nothing is run, written or fetched'),
  resume: z.boolean().default(false).describe('go on with the run in --output-dir: finished stages whose inputs did not change are kept'),
};

export const runCommand = () =>
  buildCommand({
    name: 'run',
    summary: 'run a pipeline',
    shape,
    argument: { syntax: '<file>', field: 'file', help: shape.file.description ?? '' },
    interrupt: 'stopping: the run is being saved',
    notes: 'The plan is shown first: what is kept from an earlier run, what resumes, what runs. With --json: {"output_dir", "seed", "stages": [{"name", "dir", "skipped", "seconds", "metrics"}], "policy"}.',
    async run(values, { output, signal }) {
      if (values.dryRun) beginDryRun();
      const config = await loadConfig(values.file);
      if (values.dryRun) return reportPipelinePlan(await planPipeline(config.pipeline, given(values.outputDir ?? config.outputDir, values.seed ?? config.seed)), output);
      const outputDir = values.outputDir ?? config.outputDir ?? defaultFolder(config.name ?? basename(values.file).replace(/\.(config\.)?[^.]+$/, ''), values.resume);
      const seed = values.seed ?? config.seed;
      output.note(planTable(await planPipeline(config.pipeline, { ...given(outputDir, seed), detail: false })));
      const view = watchPipeline((line) => output.note(line));
      try {
        const report = await runPipeline(config.pipeline, { outputDir, ...(seed === undefined ? {} : { seed }), resume: values.resume, signal, onEvent: (event) => view.onEvent(event) });
        await output.result({
          output_dir: report.dir,
          seed: report.seed,
          stages: report.stages.map(({ name, dir, skipped, seconds, metrics }) => ({ name, dir, skipped, seconds, metrics })),
          policy: report.artifacts.policy?.path ?? null,
        });
        output.line(reportTable(report, { metrics: tableMetrics(report.stages.map((stage) => stage.metrics)) }));
        const evaluations = evaluationTable(report);
        if (evaluations && report.stages.filter(({ name }) => name.startsWith('evaluate-')).length > 1) output.line(`\n${evaluations}\n`);
        output.line(`run: ${report.dir}`);
        if (report.artifacts.policy) output.line(`model: ${report.artifacts.policy.path}`);
      } catch (error) {
        if (isEspalierError(error) && (error.code === 'aborted' || error.code === 'no_space') && existsSync(join(outputDir, 'pipeline.json'))) {
          throw new EspalierError(error.code, error.code === 'aborted' ? 'stopped' : error.message, { fix: `go on with: espalier run ${values.file} --resume --output-dir ${outputDir}`, cause: error });
        }
        if (isEspalierError(error) && error.code === 'bad_config' && error.message.includes('holds a run already')) throw new EspalierError('bad_config', `${outputDir} holds a run already`, { fix: '--resume goes on with it; or choose another --output-dir' });
        throw error;
      } finally {
        view.stop();
      }
    },
  });

const given = (outputDir: string | undefined, seed: number | undefined) => ({ ...(outputDir === undefined ? {} : { outputDir }), ...(seed === undefined ? {} : { seed }) });

/** What will be done, before it is done. */
const planTable = (plans: readonly StagePlan[]): string => formatTable(['stage', 'plan', 'needs', 'gives'], plans.map(({ name, action, needs, gives }) => [name, action, needs.join(', '), gives.join(', ')]));

function defaultFolder(name: string, resume: boolean): string {
  if (resume) throw new EspalierError('usage', '--resume is given without --output-dir', { fix: 'name the run, such as --output-dir runs/sums' });
  return join('runs', `${name}-${new Date().toISOString().slice(0, 19).replace(/[-:]/g, '').replace('T', '-')}`);
}

/** Few enough columns for a screen: what was held out first, then losses and rewards. */
function tableMetrics(stages: readonly Readonly<Record<string, number>>[]): string[] {
  const names = new Set(stages.flatMap((metrics) => Object.keys(metrics)));
  return ['accuracy', 'eval_accuracy', 'eval_reward', 'reward', 'perplexity', 'eval_perplexity', 'eval_loss', 'loss', 'steps'].filter((name) => names.has(name)).slice(0, 6);
}
