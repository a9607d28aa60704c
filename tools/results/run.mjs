// Runs the experiments of docs/results.md and writes that page.
//
//   npm run build && node tools/fixtures/fetch-smollm2.mjs && node tools/fixtures/fetch-news.mjs
//   node tools/results/run.mjs [--only sums,code] [--seeds 1,2,3] [--runs runs/results] [--page]
//
// What has run is not run again: its numbers are in docs/results/results.json (remove an entry to repeat it). --page writes the page from those alone.
// Models are removed when they have been measured.

import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { datasetByRef } from '@espalier/data';
import { commit, machine } from '../bench/lib/machine.mjs';
import { codeRows, experiments, model, news, tasks } from './experiments.mjs';
import { curveOf } from './curves.mjs';
import { page } from './page.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const { values } = parseArgs({ options: { only: { type: 'string' }, seeds: { type: 'string', default: '1,2,3' }, runs: { type: 'string', default: 'runs/results' }, page: { type: 'boolean', default: false } } });
const folder = join(root, 'docs', 'results');
const file = join(folder, 'results.json');
const read = () => (existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : { base: null, runs: {} });

/** Adds to the results, aside and then in their place, so that two that run at once lose nothing of each other but within a millisecond. */
function write(change) {
  const results = read();
  change(results);
  mkdirSync(folder, { recursive: true });
  writeFileSync(`${file}.${process.pid}`, `${JSON.stringify(results, null, 1)}\n`);
  renameSync(`${file}.${process.pid}`, file);
}

/** One command of the CLI; its JSON. What it says meanwhile goes to a file. */
function espalier(args, log) {
  const errors = openSync(log, 'a');
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(root, 'packages/cli/bin/espalier.js'), ...args, '--json'], { cwd: root, stdio: ['ignore', 'pipe', errors] });
    const out = [];
    child.stdout.on('data', (part) => out.push(part));
    child.on('error', reject);
    child.on('close', (status) => {
      closeSync(errors);
      if (status !== 0) return reject(new Error(`espalier ${args.slice(0, 3).join(' ')} … ended with status ${status}: see ${log}`));
      resolve(JSON.parse(Buffer.concat(out).toString('utf8')));
    });
  });
}

/** Accuracy on every task, perplexity on general text and on news; with `code` hidden tests and compile rate of the code task. */
async function measure(path, log, { code: withCode }) {
  const families = await espalier(['eval', '--model', path, '--max-new-tokens', '24', ...Object.values(tasks).flatMap((ref) => ['--tasks', ref]), '--perplexity', 'general'], log);
  const code = withCode && (await espalier(['eval', '--model', path, '--max-new-tokens', '64', '--stop', '\n\n', '--dataset', codeRows, '--reward', 'tests:column=hiddenTests', '--reward', 'compiles', '--reward', 'tests:column=hiddenTests,partial=true,name=pass_rate'], log));
  const text = await espalier(['eval', '--model', path, '--perplexity', news], log);
  const accuracy = Object.fromEntries(Object.keys(tasks).map((name, i) => [name, Object.values(families.tasks)[i].accuracy]));
  return { accuracy: { ...accuracy, ...(code && { code: code.accuracy }) }, ...(code && { code: code.rewards }), perplexity: { general: families.perplexity, news: text.perplexity }, tokens: { general: families.text_tokens, news: text.text_tokens } };
}

/** What the answer earns that is right most often: who has learnt no more than that has not learnt the task. */
async function bestConstant(ref) {
  const rows = await datasetByRef(ref);
  const counts = new Map();
  for (let i = 0; i < rows.size; i++) counts.set(rows.row(i).answer, (counts.get(rows.row(i).answer) ?? 0) + 1);
  const [[answer, count]] = [...counts].sort((a, b) => b[1] - a[1]);
  return { answer, accuracy: count / rows.size };
}

async function base() {
  if (read().base) return;
  const log = join(root, values.runs, 'base.log');
  const constants = Object.fromEntries(await Promise.all(Object.entries(tasks).map(async ([name, ref]) => [name, await bestConstant(ref)])));
  const measured = { ...(await measure(model, log, { code: true })), constants };
  write((results) => (results.base = measured));
}

async function runOne(experiment, seed) {
  const name = `${experiment.id}-${seed}`;
  if (read().runs[name]) return;
  console.error(`${name} …`);
  const dir = join(values.runs, name);
  const log = join(root, values.runs, `${name}.log`);
  const before = machine();
  rmSync(join(root, dir), { recursive: true, force: true });
  const began = performance.now();
  const ran = await espalier(['rpt', '--config', `examples/rpt/${experiment.config}.yaml`, '--seed', String(seed), '--output-dir', dir], log);
  const seconds = (performance.now() - began) / 1000;
  const what = { code: experiment.own === 'code' };
  const after = await measure(ran.model, log, what);
  const control = ran.control ? { ...ran.control, measured: await measure(join(dir, ran.control.folder, 'model'), log, what) } : undefined;
  const metrics = readFileSync(join(root, dir, 'metrics.jsonl'), 'utf8').trim().split('\n').map((line) => JSON.parse(line));
  const first = metrics.find((record) => 'eval_reward' in record);
  write((results) => {
    results.runs[name] = { experiment: experiment.id, seed, seconds, steps: ran.steps, after, heldBefore: held(first), heldAfter: ran.eval, ...(control ? { control } : {}), curve: curveOf(metrics), date: new Date().toISOString().slice(0, 10), commit: commit(root), machine: before, threads: process.env.ESPALIER_NUM_THREADS ?? null };
  });
  rmSync(ran.model, { recursive: true, force: true });
  if (ran.control) rmSync(join(root, dir, ran.control.folder, 'model'), { recursive: true, force: true });
}

/** What was measured before the first step, by the names of what is measured at the end. */
const held = (record) => record && Object.fromEntries(Object.entries(record).filter(([key]) => key.startsWith('eval_')).map(([key, value]) => [key.slice('eval_'.length), value]));

if (!values.page) {
  for (const path of [model, news]) if (!existsSync(join(root, path))) throw new Error(`${path} is missing: run node tools/fixtures/${path === model ? 'fetch-smollm2' : 'fetch-news'}.mjs`);
  mkdirSync(join(root, values.runs), { recursive: true });
  const only = values.only?.split(',');
  const unknown = only?.find((id) => !experiments.some((experiment) => experiment.id === id));
  if (unknown) throw new Error(`there is no experiment ${unknown}: ${experiments.map(({ id }) => id).join(', ')}`);
  await base();
  for (const experiment of experiments.filter(({ id }) => !only || only.includes(id))) for (const seed of values.seeds.split(',').map(Number)) await runOne(experiment, seed);
}
const { markdown, plots } = page(experiments, read());
mkdirSync(folder, { recursive: true });
for (const [name, svg] of Object.entries(plots)) writeFileSync(join(folder, name), svg);
writeFileSync(join(root, 'docs', 'results.md'), markdown);
