// All benchmarks, the peers beside: node tools/bench/run.mjs [--quick] [--only sft,dpo,…] [--peers DIR] [--rounds N] [--model FILE] [--seeds N] [--trl SECONDS,BEFORE,AFTER] [--no-write] [--list] [--verbose]
// Writes docs/benchmarks.md with its plots, and docs/benchmarks/results.json; with --only, the other parts stay as they were measured before.
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { commit, machine } from './lib/machine.mjs';
import { barText, page, valueText, verdict } from './lib/page.mjs';
import { plot } from './lib/plot.mjs';
import { arithmetic } from './rows/arithmetic.mjs';
import { generate, mismatch, startup } from './rows/decoding.mjs';
import { length, memory } from './rows/scaling.mjs';
import { timer } from './rows/thread.mjs';
import { dpo, firstStep, grpo, lora, sft, threads } from './rows/training.mjs';

const rows = [sft, dpo, grpo, generate, mismatch, length, memory, lora, firstStep, startup, timer, threads, arithmetic];
const here = dirname(fileURLToPath(import.meta.url));
const root = resolve(here, '../..');

function fail(message) {
  console.error(`bench: ${message}`);
  process.exit(2);
}

let values;
try {
  ({ values } = parseArgs({ options: { only: { type: 'string' }, peers: { type: 'string' }, rounds: { type: 'string' }, seeds: { type: 'string' }, trl: { type: 'string' }, model: { type: 'string' }, quick: { type: 'boolean' }, 'no-write': { type: 'boolean' }, list: { type: 'boolean' }, page: { type: 'boolean' }, verbose: { type: 'boolean' } } }));
} catch (error) {
  fail(error.message);
}
if (values.list) {
  for (const { id, title, optional } of rows) console.log(`${id.padEnd(12)} ${title}${optional ? ' (only when it is named)' : ''}`);
  process.exit(0);
}

const out = join(root, 'docs/benchmarks');
const resultsFile = join(out, 'results.json');
const results = existsSync(resultsFile) ? JSON.parse(readFileSync(resultsFile, 'utf8')) : {};
const replace = (path, text) => {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(`${path}.tmp`, text);
  renameSync(`${path}.tmp`, path);
};
function write() {
  replace(resultsFile, `${JSON.stringify(results, null, 1)}\n`);
  for (const { id } of rows) for (const each of results[id]?.plots ?? []) replace(join(out, each.file), plot(each));
  replace(join(root, 'docs/benchmarks.md'), page(rows, results));
}
if (values.page) {
  write();
  process.exit(0);
}

const names = values.only?.split(',').map((name) => name.trim());
const unknown = names?.find((name) => !rows.some(({ id }) => id === name));
if (unknown !== undefined) fail(`there is no part "${unknown}": ${rows.map(({ id }) => id).join(', ')}`);
const rounds = values.rounds === undefined ? (values.quick ? 2 : 5) : Number(values.rounds);
if (!(Number.isInteger(rounds) && rounds >= 1)) fail('--rounds takes a whole number from 1');
const seeds = values.seeds === undefined ? 3 : Number(values.seeds);
if (!(Number.isInteger(seeds) && seeds >= 1)) fail('--seeds takes a whole number from 1');
const trl = values.trl?.split(',').map(Number);
if (trl && !(trl.length === 3 && trl.every((x) => x >= 0))) fail("--trl takes three numbers: seconds, and TRL's accuracy before and after");
const model = resolve(values.model ?? join(root, '.cache/models/SmolLM2-135M-Instruct.Q4_1.gguf'));
if (!existsSync(model)) fail(`there is no model ${model}: node tools/fixtures/fetch-smollm2.mjs fetches it`);
if (!existsSync(join(root, 'packages/engine/dist/worker.js'))) fail('the packages are not built: npm run build');
const peers = resolve(values.peers ?? process.env.ESPALIER_BENCH_PEERS ?? join(root, '.cache/peers'));
const python = [join(peers, 'venv/bin/python'), join(peers, 'venv/Scripts/python.exe')].find((path) => existsSync(path)) ?? null;
const peerModel = join(peers, 'smollm2');
if (!python || !existsSync(peerModel)) console.error(`bench: no peers in ${peers}, so nothing is compared with them: node tools/bench/setup-peers.mjs makes them (5 GB), --peers DIR says where they are`);

const found = machine();
console.error(`${found.processor}, ${found.cores} cores, ${found.memory}, ${found.features}; Node ${found.node}; load ${found.load.toFixed(2)}; commit ${commit(root)}`);
if (!found.half) console.error('bench: this processor has no bf16 products: ours are measured in fp32, and the peers too, since theirs take minutes a step in bf16');
if (found.load > 0.5 * found.cores) console.error('bench: the machine is not idle: times will be too long, and ratios less sure');
const context = { here, root, model, python: existsSync(peerModel) ? python : null, peerModel, cores: found.cores, precision: found.half ? 'bf16' : 'fp32', peerHows: found.half ? ['bfloat16', 'autocast'] : ['float32'], rounds, seeds, trl, quick: values.quick ?? false, verbose: values.verbose ?? false, log: (line) => console.error(line) };

const started = performance.now();
let failed = 0;
for (const row of rows) {
  if (names ? !names.includes(row.id) : row.optional) continue;
  console.error(`${row.id}: ${row.title}`);
  const begun = performance.now();
  const about = { machine: machine(), commit: commit(root), date: new Date().toISOString().slice(0, 10), rounds };
  try {
    results[row.id] = { ...(await row.run(context)), ...about, seconds: (performance.now() - begun) / 1000 };
  } catch (error) {
    results[row.id] = { error: error.message.split('\n')[0], ...about };
    console.error(`  ${error.stack}`);
    failed++;
  }
  for (const check of results[row.id].checks ?? []) console.log(`${verdict(check).padEnd(8)} ${row.id}: ${check.what}: ${valueText(check)} (bar ${barText(check)})${check.note ? `, ${check.note}` : ''}`);
  if (!values['no-write']) write();
}
console.error(`${((performance.now() - started) / 60000).toFixed(1)} minutes${values['no-write'] ? '' : '; docs/benchmarks.md is written'}`);
process.exitCode = failed > 0 ? 1 : 0;
