/**
 * SmolLM2 as its own critic and judge.
 *
 *   npx tsx --conditions @espalier/source examples/constitutional/main.ts <model> <folder> [--seed 1] [--judge self|random] [--rows N] [--cache DIR]
 *
 * A run that was interrupted goes on where it stopped.
 */
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { watchPipeline } from '@espalier/cli';
import { formatTable, runPipeline, type PipelineReport } from '@espalier/pipeline';
import { recipe } from './recipe';

const { positionals, values } = parseArgs({ allowPositionals: true, options: { seed: { type: 'string', default: '1' }, judge: { type: 'string', default: 'self' }, rows: { type: 'string' }, cache: { type: 'string' } } });
const [model, dir] = positionals;
const { judge } = values;
if (!model || !dir || (judge !== 'self' && judge !== 'random')) {
  console.error('usage: main.ts <model> <folder> [--seed 1] [--judge self|random] [--rows N] [--cache DIR]');
  process.exit(2);
}
const seed = Number(values.seed);
const view = watchPipeline((line) => console.error(line));
const line = recipe({ model, seed, judge, ...(values.rows === undefined ? {} : { rows: Number(values.rows) }), ...(values.cache === undefined ? {} : { cacheDir: values.cache }) });
const report = await runPipeline(line, { outputDir: dir, seed, resume: existsSync(join(dir, 'pipeline.json')), onEvent: view.onEvent }).finally(view.stop);

const text = [`# Seed ${seed}, judge: ${judge}`, table(report), labels(report), await examples(report)].join('\n\n');
await writeFile(join(report.dir, 'report.md'), `${text}\n`);
console.log(text);

/** What each stage came to, held out. */
function table({ stages }: PipelineReport): string {
  const rows = stages.filter(({ metrics }) => metrics['rewards/rule/mean'] !== undefined);
  const percent = (value: number) => `${(100 * value).toFixed(1)} %`;
  const seconds = stages.filter(({ name }) => name !== 'dpo' && name !== 'ppo').reduce((sum, stage) => sum + stage.seconds, 0);
  return `${formatTable(['stage', 'rule', 'accuracy', 'evasive'], rows.map(({ name, metrics }) => [name, ...['rule', 'accuracy', 'evasive'].map((key) => percent(metrics[`rewards/${key}/mean`]))]))}\n\n${seconds.toFixed(0)} s in all`;
}

/** How the revisions and the labels turned out. */
function labels({ stages }: PipelineReport): string {
  const of = (name: string) => Object.entries(stages.find((stage) => stage.name === name)?.metrics ?? {}).map(([key, value]) => `${key} ${Number(value.toFixed(3))}`);
  return [...of('critique-revise'), ...of('ai-preferences')].join(', ');
}

/** The first answers, before and after. */
async function examples({ stages }: PipelineReport): Promise<string> {
  const answers = async (name: string) => (await readFile(join(stages.find((stage) => stage.name === name)!.dir, 'samples.jsonl'), 'utf8')).trim().split('\n').map((row) => JSON.parse(row) as { prompt: { content: string }[]; completion: string });
  const [before, after] = [await answers('start'), await answers('dpo/measured')];
  return before.map(({ prompt, completion }, i) => `${prompt[0].content}\n  before: ${completion}\n  after:  ${after[i].completion}`).join('\n');
}
