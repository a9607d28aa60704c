import { watchPipeline } from '@espalier/cli';
import { openEngine } from '@espalier/engine';
import { formatTable, runPipeline, type PipelineReport } from '@espalier/pipeline';
import { selectBackend } from '@espalier/tensor';
import { join } from 'node:path';
import { nativeScale, portableScale, recipe } from './recipe';
import { sumsData } from './sums';

const seed = Number(process.env.SEED ?? 1);
const outputDir = process.argv[2] ?? join('runs', `quickstart-${new Date().toISOString().slice(0, 19).replace(/[-:]/g, '').replace('T', '-')}`);

const { name: backend } = await selectBackend();
const scale = backend === 'native' ? nativeScale : portableScale;
console.log(`Espalier: a ${scale.numLayers}-layer decoder learns sums from authors who forget to carry. Backend: ${backend}${backend === 'native' ? '' : ' (no Rust kernels: a smaller run)'}.\n`);

const view = watchPipeline((line) => console.error(line));
const report = await runPipeline(recipe(seed, scale), { outputDir, seed, onEvent: view.onEvent }).finally(view.stop);

console.log(`\nGreedy accuracy on ${sumsData(seed, scale.largest).heldOut.size} sums that no stage trained on:\n\n${accuracyTable(report)}`);
console.log(`\nCompletions before and after reinforcement:\n\n${await samples(report)}`);
console.log(`\nRun: ${report.dir}\nTry it: npx espalier generate --model ${modelOf(report, 'rpt')} --prompt "27+38=" --temperature 0`);

function accuracyTable({ stages }: PipelineReport): string {
  const seconds = (stage: string) => stages.find(({ name }) => name === stage)?.seconds.toFixed(1) ?? '';
  const accuracy = (stage: string) => stages.find(({ name }) => name === `after ${stage}`)?.metrics.accuracy ?? NaN;
  return formatTable(
    ['stage', 'seconds', 'held-out accuracy'],
    ['pretrain', 'sft', 'rpt'].map((stage) => [stage, seconds(stage), `${(100 * accuracy(stage)).toFixed(1)} %`]),
  );
}

function modelOf({ stages }: PipelineReport, stage: string): string {
  return stages.find(({ name }) => name === stage)!.gives.policy!.path;
}

/** What the policy before and after RPT answers to the first held-out sums that need a carry, greedily. */
async function samples(report: PipelineReport): Promise<string> {
  const { heldOut } = sumsData(seed, scale.largest);
  const rows = Array.from({ length: 40 }, (_, i) => heldOut.row(i) as { prompt: string; answer: string }).filter(({ prompt }) => needsCarry(prompt)).slice(0, 6);
  const [before, after] = await Promise.all(['sft', 'rpt'].map((stage) => answers(modelOf(report, stage), rows.map(({ prompt }) => prompt))));
  return formatTable(['prompt', 'after sft', 'after rpt', 'right'], rows.map(({ prompt, answer }, i) => [prompt, before[i], after[i], answer]));
}

function needsCarry(prompt: string): boolean {
  const [a, b] = prompt.split(/[+=]/).map(Number);
  return (a % 10) + (b % 10) > 9;
}

async function answers(model: string, prompts: readonly string[]): Promise<string[]> {
  const engine = await openEngine({ model });
  try {
    const texts = prompts.map(() => '');
    const requests = prompts.map((prompt, i) => ({ id: String(i), prompt: engine.tokenizer.encode(prompt), seed, sampling: { temperature: 0, maxNewTokens: 4 } }));
    for await (const { requestId, text } of engine.generate(requests)) texts[Number(requestId)] = text;
    return texts;
  } finally {
    await engine.close();
  }
}
