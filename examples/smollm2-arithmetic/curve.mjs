// Prints the curves of runs as a Markdown table: node examples/smollm2-arithmetic/curve.mjs runs/sums-1 runs/sums-2 runs/sums-3
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const every = 5;
const runs = process.argv.slice(2).map((dir) => readFileSync(join(dir, 'metrics.jsonl'), 'utf8').trim().split('\n').map((line) => JSON.parse(line)).filter((row) => row.reward !== undefined));
const mean = (rows, name) => rows.reduce((sum, row) => sum + row[name], 0) / rows.length;
console.log(`| steps | ${runs.map((_, i) => `reward, run ${i + 1}`).join(' | ')} | tokens a completion | seconds a step |`);
console.log(`|---|${runs.map(() => '---|').join('')}---|---|`);
for (let from = 0; from < runs[0].length; from += every) {
  const parts = runs.map((rows) => rows.slice(from, from + every));
  const all = parts.flat();
  console.log(`| ${from + 1}–${from + parts[0].length} | ${parts.map((rows) => mean(rows, 'reward').toFixed(3)).join(' | ')} | ${mean(all, 'completions/mean_length').toFixed(1)} | ${mean(all, 'step_time').toFixed(1)} |`);
}
console.log(`\nSeconds of training: ${runs.map((rows) => rows.reduce((sum, row) => sum + row.step_time, 0).toFixed(0)).join(', ')}`);
