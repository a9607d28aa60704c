// How many programs a second the sandbox of rewards-code runs and checks: node tools/bench/rewards-code.mjs [--workers N] [--seconds 5] [--json]
// The packages must be built. Programs are the solutions of code tasks, each with a comment of its own, run against their tests (TypeScript is turned into JavaScript on the way)
// and checked against their signatures. Workers are warm; the median of five rounds is given, with the least and the most.
import { availableParallelism, cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { codeTasks, openSandbox, runTests } from '@espalier/rewards-code';

const { values } = parseArgs({ options: { workers: { type: 'string' }, seconds: { type: 'string', default: '5' }, json: { type: 'boolean' } } });
const workers = Number(values.workers ?? availableParallelism());
const roundMs = (Number(values.seconds) * 1000) / 5;
const tasks = codeTasks({ seed: 1 });
const sandbox = openSandbox({ workers });
let serial = 0;

const run = async ({ solution, entry, tests, hiddenTests }) => {
  const { passRate } = await runTests(`${solution}\n// ${serial++}`, [...tests, ...hiddenTests], { sandbox, entry });
  if (passRate !== 1) throw new Error(`a right program passed ${passRate} of its tests: ${solution}`);
};
const check = async ({ solution, declarations, signature, entry }) => {
  const { compiles, problems } = await sandbox.check(`${solution}\n// ${serial++}`, { declarations, signature, entry });
  if (!compiles) throw new Error(`a right program does not compile: ${solution}: ${problems[0]?.message}`);
};
const python = async () => {
  const { results } = await sandbox.run(`def add(a, b):\n    return a + b\n# ${serial++}`, { language: 'python', entry: 'add', calls: ['[1, 2]'] });
  if (results[0]?.value !== 3) throw new Error('a right program in Python gave something else');
};

/** Work a second in each of five rounds, after one that is not counted, as many at a time as keep the workers busy. */
async function rate(work) {
  const rates = [];
  for (let round = -1; round < 5; round++) {
    const began = performance.now();
    let done = 0;
    const lane = async () => {
      while (performance.now() - began < roundMs) {
        await work(tasks[(serial + done) % tasks.length]);
        done += 1;
      }
    };
    await Promise.all(Array.from({ length: workers * 3 }, lane));
    if (round >= 0) rates.push((done / (performance.now() - began)) * 1000);
  }
  rates.sort((a, b) => a - b);
  return { median: rates[2], least: rates[0], most: rates[4] };
}

const result = { processor: cpus()[0]?.model, workers, node: process.version, run: await rate(run), check: await rate(check), python: await rate(python) };
await sandbox.close();
if (values.json) console.log(JSON.stringify(result));
else {
  console.log(`${result.processor}, ${workers} workers of each kind, Node ${result.node}`);
  for (const [name, words] of [['run', 'TypeScript programs run against their tests'], ['check', 'TypeScript programs checked'], ['python', 'Python programs run']]) {
    const { median, least, most } = result[name];
    console.log(`${words.padEnd(45)} ${median.toFixed(0).padStart(6)} a second (${least.toFixed(0)} to ${most.toFixed(0)})`);
  }
}
