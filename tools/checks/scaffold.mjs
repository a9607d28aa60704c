// Begins a plugin of each kind outside of the repository, as a stranger would: `npm create espalier-plugin` from packed packages, then install, build, lint,
// type-check, test, look at what would be published, pack. The packed plugins are installed into another empty folder and used there, by the command and in
// code. `example` is examples/third-party-plugin, copied out and treated alike.
//
//   node tools/checks/scaffold.mjs [--kinds reward,stage,example] [--node 20] [--without-native] [--keep]        needs the built packages
//
// Plugins share one folder of dependencies, as npm workspaces, to save time; that each imports nothing but what its own package.json names is looked at. Packages
// of ours come from tarballs, all others from the registry.
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { packAll } from '../release/pack.mjs';
import { root, run as runCommand, strangersEnvironment } from '../release/workspace.mjs';
import { undeclaredImports } from './scaffold/undeclared-imports.mjs';
import { inParallel } from './scaffold/in-parallel.mjs';

/** What is begun: the name that is typed, by kind. */
const names = { reward: 'short-answers', objective: 'focal-loss', algorithm: 'by-rank', 'rollout-engine': 'bigrams', environment: 'guess-the-number', stage: 'first-of-each', judge: '@acme/shorter', tracker: 'csv-metrics' };
const kinds = [...Object.keys(names), 'example'];

const { values } = parseArgs({ options: { kinds: { type: 'string', default: kinds.join() }, node: { type: 'string' }, 'without-native': { type: 'boolean', default: false }, keep: { type: 'boolean', default: false } } });
const chosen = values.kinds.split(',').filter(Boolean);
for (const kind of chosen) if (!kinds.includes(kind)) throw new Error(`--kinds ${kind}: there is no such kind (${kinds.join(', ')})`);

const base = mkdtempSync(join(tmpdir(), 'espalier-scaffold-'));
const began = Date.now();
const say = (text) => console.log(`${((Date.now() - began) / 1000).toFixed(1).padStart(6)} s  ${text}`);
let environment = strangersEnvironment();

/** Runs a command in a folder outside of the repository. */
async function run(command, args, cwd) {
  return inParallel.run(command, args, { cwd, env: environment });
}

/** A folder with a package.json, in which packages of ours come from tarballs. */
function emptyFolder(name, tarballs, more = {}) {
  const dir = join(base, name);
  mkdirSync(dir, { recursive: true });
  const overrides = Object.fromEntries(tarballs.map(({ name: packed, file }) => [packed, `file:${file}`]));
  writeFileSync(join(dir, 'package.json'), `${JSON.stringify({ name, version: '1.0.0', private: true, type: 'module', overrides, ...more }, null, 2)}\n`);
  return dir;
}

const install = ['install', '--no-audit', '--no-fund', '--prefer-offline', '--loglevel=error'];

/** Installs what a folder asks for; without the platform package of the Rust kernels where that is asked for (`--omit=optional` would leave out esbuild's too). */
async function installIn(dir) {
  await run('npm', install, dir);
  const ours = join(dir, 'node_modules/@espalier');
  if (!values['without-native'] || !existsSync(ours)) return;
  for (const name of readdirSync(ours)) if (name.startsWith('native-')) rmSync(join(ours, name), { recursive: true });
}

async function main() {
  if (values.node) {
    await run('npm', [...install, '--no-save', '--prefix', join(base, 'node'), `node@${values.node}`], base);
    environment = strangersEnvironment(join(base, 'node/node_modules/node/bin'));
  }
  say(`node ${(await run('node', ['--version'], base)).stdout.trim()}, npm ${(await run('npm', ['--version'], base)).stdout.trim()}`);
  const tarballs = packAll({ out: join(base, 'tarballs') });
  const fileOf = (name) => `file:${tarballs.find((one) => one.name === name).file}`;
  say(`${tarballs.length} packages of ours packed`);

  // npm create, where the creator is at hand as it would be in the registry
  const plugins = emptyFolder('plugins', tarballs, { workspaces: ['espalier-plugin-*'], devDependencies: { 'create-espalier-plugin': fileOf('create-espalier-plugin') } });
  await installIn(plugins);
  const folders = new Map();
  for (const kind of chosen) {
    if (kind === 'example') {
      folders.set(kind, join(plugins, 'espalier-plugin-readability'));
      copyExample(folders.get(kind));
    } else {
      const { stdout } = await run('npm', ['create', 'espalier-plugin', names[kind], '--', '--kind', kind, '--yes'], plugins);
      folders.set(kind, join(plugins, /in (espalier-plugin-\S+)/.exec(stdout)[1]));
    }
  }
  say(`${chosen.length} plugins begun`);
  await installIn(plugins);
  say('their dependencies installed');

  const packed = new Map();
  await inParallel.each(chosen, 2, async (kind) => {
    const dir = folders.get(kind);
    const { stdout } = await run('npm', ['run', 'check'], dir);
    const tests = /Tests +(\d+) passed/.exec(stdout.replace(/\u001b\[[0-9;]*m/g, ''))?.[1];
    if (!tests) throw new Error(`${kind}: vitest reported no test that passed\n${stdout}`);
    const undeclared = undeclaredImports(dir);
    if (undeclared.length > 0) throw new Error(`${kind}: ${undeclared.join('; ')}`);
    const [{ filename, files }] = JSON.parse((await run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', base], dir)).stdout);
    packed.set(kind, { name: JSON.parse(readFileSync(join(dir, 'package.json'), 'utf8')).name, file: join(base, basename(filename.replace('@', '').replace('/', '-'))) });
    say(`${kind}: built, type-checked, linted, ${tests} tests passed, packed (${files.length} files)`);
  });

  const versioned = chosen.find((kind) => kind !== 'example');
  if (versioned) say(`${versioned}: its changeset makes version ${await firstVersion(folders.get(versioned), plugins)}`);

  // another empty folder, with what was packed and nothing else
  const dependencies = Object.fromEntries([...packed.values()].map(({ name, file }) => [name, `file:${file}`]));
  const use = emptyFolder('use', tarballs, { dependencies: { ...dependencies, '@espalier/cli': fileOf('@espalier/cli'), '@espalier/pipeline': fileOf('@espalier/pipeline'), '@espalier/models': fileOf('@espalier/models'), typescript: '^5.9.0', '@types/node': '^20.19.0' } });
  await installIn(use);
  say('plugins and the command installed into another folder');
  cpSync(new URL('./scaffold/use.mjs', import.meta.url), join(use, 'use.mjs'));
  const { stdout } = await run('node', ['use.mjs', JSON.stringify(Object.fromEntries([...packed].map(([kind, { name }]) => [kind, name])))], use);
  for (const line of stdout.trim().split('\n')) say(`used: ${line}`);
  const used = stdout.trim().split('\n').length;
  say(`${chosen.length} plugins scaffolded, tested, packed and used from another folder (${used} uses)${values['without-native'] ? ', without the Rust kernels' : ''}`);
}

/** What the first changeset makes of a plugin that stands in a repository of its own. */
async function firstVersion(plugin, shared) {
  const alone = join(base, 'alone', basename(plugin));
  cpSync(plugin, alone, { recursive: true });
  symlinkSync(join(shared, 'node_modules'), join(base, 'alone/node_modules'));
  await run('npm', ['run', 'version'], alone);
  const { version } = JSON.parse(readFileSync(join(alone, 'package.json'), 'utf8'));
  if (version !== '0.1.0' || !readFileSync(join(alone, 'CHANGELOG.md'), 'utf8').includes('First release.')) throw new Error(`${plugin}: its changeset made version ${version}`);
  return version;
}

/** What of the example is committed, or about to be: no build, no dependencies. */
function copyExample(target) {
  const dir = join(root, 'examples/third-party-plugin');
  const { stdout } = runCommand('git', ['ls-files', '--cached', '--others', '--exclude-standard'], { cwd: dir });
  for (const file of stdout.split('\n').filter(Boolean)) cpSync(join(dir, file), join(target, file));
}

try {
  await main();
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  if (values.keep) console.log(`left in ${base}`);
  else rmSync(base, { recursive: true, force: true });
}
