// Programs that try to hang, flood, escape or forge, put to the sandbox of rewards-code as the rewards do, a thousand of them by default; then whether the pool is still healthy.
//   npx tsx --conditions @espalier/source tools/checks/hostile-programs.mjs [--count 1000] [--workers 2] [--time-limit 200]
// Each is judged by a test whose expected value is a secret of this process: in its environment, in a file, behind a local server. None may pass, none may outlast its time by far,
// nobody may connect, write or start anything, and no process may be left. Ends with status 1 when any of that happens.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openSandbox } from '../../packages/rewards-code/src/index.ts';
import { hostilePrograms, putToTest } from '../../packages/rewards-code/src/hostile/test-support.ts';

const { values } = parseArgs({ options: { count: { type: 'string', default: '1000' }, workers: { type: 'string', default: String(Math.min(2, availableParallelism())) }, 'time-limit': { type: 'string', default: '200' } } });
const count = Number(values.count);
const limits = { timeLimit: Number(values['time-limit']), memoryLimit: 32, outputLimit: 20_000 };
const faults = [];
const fault = (line) => {
  faults.push(line);
  console.log(`FAULT: ${line}`);
};

const folder = mkdtempSync(join(tmpdir(), 'espalier-hostile-'));
const secret = `secret-${process.pid}-${Math.random().toString(36).slice(2)}`;
const traps = { secret, secretFile: join(folder, 'secret.txt'), canaryFile: join(folder, 'canary'), port: 0 };
writeFileSync(traps.secretFile, secret);
process.env.ESPALIER_SECRET = secret;
let connections = 0;
const server = createServer((socket) => {
  connections += 1;
  socket.end(secret);
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
traps.port = server.address().port;

/** The same program in other words, so that no two of the thousand are the same text. */
const variants = [(code) => code, (code, i) => `${code}\n// ${i}`, (code, i) => `// ${i}\n${code}`, (code, i) => `${code}\nvar unused${i} = ${i};`];
const inPython = (code, i) => `${code}\nunused_${i} = ${i}`;

const sandbox = openSandbox({ workers: Number(values.workers) });
const began = performance.now();
const tally = new Map();
let slowest = { ms: 0, name: '' };
let done = 0;
const queue = Array.from({ length: count }, (_, i) => {
  const program = hostilePrograms[i % hostilePrograms.length];
  const vary = program.against === 'python' ? inPython : variants[Math.floor(i / hostilePrograms.length) % variants.length];
  return { ...program, code: vary(program.code, i) };
});
const lane = async () => {
  for (let program = queue.shift(); program; program = queue.shift()) {
    const start = performance.now();
    const { passed, limit } = await putToTest(sandbox, program, traps, limits);
    const ms = performance.now() - start;
    if (ms > slowest.ms) slowest = { ms, name: program.name };
    if (passed) fault(`"${program.name}" passed`);
    if (program.limit && limit !== program.limit && limit !== 'time') fault(`"${program.name}" ended by ${limit ?? 'itself'}, not by its limit (${program.limit})`); // its time may be over first
    const key = limit ?? 'ended by itself';
    tally.set(key, (tally.get(key) ?? 0) + 1);
    if (++done % 100 === 0) console.log(`${done} of ${count} after ${((performance.now() - began) / 1000).toFixed(0)} s`);
  }
};
await Promise.all(Array.from({ length: 2 * Number(values.workers) }, lane));
console.log(`${count} hostile programs in ${((performance.now() - began) / 1000).toFixed(1)} s: ${[...tally].map(([name, n]) => `${n} ${name}`).join(', ')}; the slowest, "${slowest.name}", ${(slowest.ms / 1000).toFixed(1)} s with its wait`);

// The pool afterwards: every answer right, no worker too many.
const answers = await Promise.all(
  Array.from({ length: 200 }, async (_, i) => {
    const [ran, checked] = await Promise.all([sandbox.run(`export const f = (a: number) => a + ${i};`, { entry: 'f', calls: ['[1]'] }), sandbox.check(`export const f: ${i % 2 ? 'string' : 'number'} = ${i};`)]);
    return ran.results[0]?.value === i + 1 && checked.compiles === (i % 2 === 0);
  }),
);
const wrong = answers.filter((right) => !right).length;
if (wrong > 0) fault(`${wrong} of 200 benign programs were judged wrongly afterwards`);
for (const [kind, { alive, started }] of Object.entries(sandbox.workers())) {
  console.log(`${kind}: ${alive} workers, ${started} started in all`);
  if (alive > Number(values.workers)) fault(`${alive} workers of ${kind}`);
}
await sandbox.close();
if (connections > 0) fault(`${connections} connections were made`);
if (existsSync(traps.canaryFile)) fault('a file was written, or a process started');
const left = children();
if (left.length > 0) fault(`processes are left: ${left.join(', ')}`);
server.close();
rmSync(folder, { recursive: true, force: true });
console.log(faults.length === 0 ? 'no escape, no hang, a healthy pool' : `${faults.length} faults`);
process.exitCode = faults.length === 0 ? 0 : 1;

/** Processes of Node's that this one has started and not seen the end of (where there is `ps`). */
function children() {
  try {
    return execFileSync('ps', ['-o', 'pid=,args=', '--ppid', String(process.pid)], { encoding: 'utf8' })
      .split('\n')
      .filter((line) => /permission/.test(line))
      .map((line) => line.trim().split(' ')[0]);
  } catch {
    return [];
  }
}
