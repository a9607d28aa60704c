import { formatTable, pipeline, runPipeline, sft, startFrom, type PipelineReport } from '@espalier/pipeline';
import { heldOut, nativeScale, recipe, sftOptions } from './recipe';

/** Held-out accuracy after each stage over three seeds, and the control: SFT continued from where it ended for as long as RPT took. */
const rows: number[][] = [];
for (const seed of [1, 2, 3]) {
  const outputDir = `runs/quickstart-measure-${Date.now()}-seed-${seed}`;
  const report = await runPipeline(recipe(seed, nativeScale), { outputDir, seed });
  const control = await continuedSft(report, seed, `${outputDir}/control`);
  const accuracies = ['after pretrain', 'after sft'].map((name) => accuracy(report, name));
  rows.push([...accuracies, control, accuracy(report, 'after rpt'), report.stages.reduce((sum, { seconds }) => sum + seconds, 0)]);
  console.error(`seed ${seed} done`);
}
const mean = rows[0].map((_, i) => rows.reduce((sum, row) => sum + row[i], 0) / rows.length);
const title = ['seed', 'pretrain %', 'sft %', 'sft continued %', 'rpt %', 'seconds'];
console.log(formatTable(title, [...rows, mean].map((row, i) => [i < rows.length ? String(i + 1) : 'mean', ...row.map((x) => x.toFixed(1))])));

function accuracy({ stages }: PipelineReport, name: string): number {
  return 100 * stages.find((stage) => stage.name === name)!.metrics.accuracy;
}

async function continuedSft(report: PipelineReport, seed: number, outputDir: string): Promise<number> {
  const { gives } = report.stages.find(({ name }) => name === 'sft')!;
  const { seconds } = report.stages.find(({ name }) => name === 'rpt')!;
  const end = performance.now() + 1000 * seconds;
  const more = sft({
    ...sftOptions(seed, nativeScale),
    maxSteps: 100_000, // the clock ends it
    lrSchedulerType: 'constant',
    callbacks: [{ onStep: (_progress, _metrics, control) => void (performance.now() > end && control.stop()) }],
  });
  return accuracy(await runPipeline(pipeline(startFrom(gives.policy!.path), more, heldOut(seed, nativeScale, 'control')), { outputDir, seed }), 'control');
}
