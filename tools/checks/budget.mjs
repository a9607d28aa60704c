// What each package costs whoever installs and imports it: node tools/checks/budget.mjs [--tarballs FOLDER] [--update] [--times]
// The packages must be built. Installs all of them from tarballs into one empty folder, and measures for each package the size on the disk of itself with everything
// it depends on, and for each entry point the time of a cold import, in a process of its own. tools/checks/budget.json holds what may not be exceeded.
// A size over its budget fails. A time is the best of several runs, and fails when it is over four times its budget, which a busy machine alone does not explain;
// --times fails on the budget itself, for a machine that does nothing else. --update writes budgets for what has none yet, and takes none away.
import { execFileSync } from 'node:child_process';
import { existsSync, lstatSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { packAll, readPacked } from '../release/pack.mjs';
import { readJson, root, strangersEnvironment } from '../release/workspace.mjs';
import { installInto } from './journeys/stranger.mjs';
import { entries } from './packages/manifest.mjs';

const { values } = parseArgs({ options: { tarballs: { type: 'string' }, update: { type: 'boolean' }, times: { type: 'boolean' } } });
const budgetFile = join(root, 'tools/checks/budget.json');
const budget = existsSync(budgetFile) ? readJson(budgetFile) : {};
const runs = 7;
const noise = 4;

const work = mkdtempSync(join(tmpdir(), 'espalier-budget-'));
const over = [];
try {
  const packed = values.tarballs ? readPacked(resolve(values.tarballs)) : packAll({ out: join(work, 'tarballs') });
  const ours = packed.filter(({ manifest }) => manifest.os === undefined);
  const folder = join(work, 'everything');
  const env = strangersEnvironment();
  installInto(folder, ours.map(({ name }) => name), { packed: new Map(packed.map(({ name, file }) => [name, file])), env, native: true });

  for (const { name, manifest } of ours.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const mine = (budget[name] ??= {});
    const megabytes = installSize(folder, name) / 1e6;
    if (values.update) mine.megabytes ??= roundUp(megabytes);
    const lines = [`${megabytes.toFixed(2).padStart(7)} MB of ${mine.megabytes ?? '?'}`];
    if (!(megabytes <= mine.megabytes)) over.push(`${name} installs ${megabytes.toFixed(2)} MB; its budget is ${mine.megabytes ?? 'not given'}`);
    mine.milliseconds ??= {};
    for (const [entry] of entries(manifest)) {
      const specifier = `${name}${entry.slice(1)}`;
      if (entry === './testing' || name === '@espalier/testkit' || entry === './worker') continue; // those run inside vitest, this one on the engine's thread
      const best = coldImport(folder, specifier, env, mine.milliseconds[entry]);
      if (values.update) mine.milliseconds[entry] ??= Math.max(40, Math.ceil((best * 1.5) / 10) * 10);
      const allowed = mine.milliseconds[entry];
      lines.push(`${entry} ${best.toFixed(0)} ms of ${allowed ?? '?'}`);
      if (!(best <= allowed * (values.times ? 1 : noise))) over.push(`${specifier} takes ${best.toFixed(0)} ms to import; its budget is ${allowed ?? 'not given'} ms${values.times ? '' : `, and ${noise} times that is allowed here`}`);
    }
    console.log(`${name.padEnd(26)}${lines.join('; ')}`);
  }
  for (const name of Object.keys(budget)) if (!ours.some((one) => one.name === name)) over.push(`${name} has a budget and is no package`);
  if (values.update) writeFileSync(budgetFile, `${JSON.stringify(Object.fromEntries(Object.entries(budget).sort(([a], [b]) => (a < b ? -1 : 1))), null, 2)}\n`);
} finally {
  rmSync(work, { recursive: true, force: true });
}
console.log(over.length === 0 ? '\nwithin the budget' : `\nover the budget:\n${over.map((line) => `- ${line}`).join('\n')}`);
process.exitCode = over.length === 0 ? 0 : 1;

/** Bytes of the package and of everything that npm installed for it: found as Node finds modules, each package counted once. Optional dependencies too, peers not. */
function installSize(folder, name) {
  const seen = new Set();
  const queue = [join(folder, 'node_modules', name)];
  while (queue.length > 0) {
    const dir = queue.pop();
    if (seen.has(dir)) continue;
    seen.add(dir);
    const { dependencies, optionalDependencies } = readJson(join(dir, 'package.json'));
    for (const wanted of Object.keys({ ...dependencies, ...optionalDependencies })) {
      const found = resolveFrom(dir, folder, wanted);
      if (found) queue.push(found);
      else if (!(wanted in (optionalDependencies ?? {}))) throw new Error(`${dir} depends on ${wanted}, which is not installed`);
    }
  }
  return [...seen].reduce((sum, dir) => sum + sizeOf(dir), 0);
}

function resolveFrom(dir, top, name) {
  for (let at = dir; at.length >= top.length; at = resolve(at, '..')) if (existsSync(join(at, 'node_modules', name, 'package.json'))) return join(at, 'node_modules', name);
  return null;
}

/** Bytes of the files in a package's folder; packages that lie inside it are counted on their own. */
function sizeOf(dir) {
  return readdirSync(dir, { withFileTypes: true }).reduce((sum, entry) => {
    if (entry.isDirectory()) return entry.name === 'node_modules' ? sum : sum + sizeOf(join(dir, entry.name));
    return sum + lstatSync(join(dir, entry.name)).size;
  }, 0);
}

/** The least of some runs, in milliseconds; as soon as one is within the budget there is nothing more to find out. */
function coldImport(folder, specifier, env, allowed) {
  const program = `const began = performance.now(); await import(${JSON.stringify(specifier)}); process.stdout.write('\\n' + (performance.now() - began)); process.exit(0);`;
  let best = Infinity;
  for (let i = 0; i < runs && !(best <= allowed); i++) best = Math.min(best, Number(execFileSync('node', ['--input-type=module', '-e', program], { cwd: folder, env, encoding: 'utf8' }).split('\n').at(-1)));
  return best;
}

function roundUp(megabytes) {
  return Math.ceil(megabytes * 1.15 * 10) / 10;
}
