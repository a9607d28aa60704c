// What users do first, done from outside: in empty folders, with packed packages only. One package alone; a pipeline of four, run to its end; the command.
//   node tools/checks/journeys.mjs [--node 20|22|24] [--without-native] [--every] [--tarballs FOLDER | --registry URL]
// The packages must be built. --every: all of Node 20, 22 and 24, each with the prebuilt Rust library and without. --registry: ours come from there, by name.
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { packAll, readPacked } from '../release/pack.mjs';
import { root, strangersEnvironment } from '../release/workspace.mjs';
import { installInto, nodeFolder } from './journeys/stranger.mjs';

/**
 * @param registry where our packages are published; else `tarballs`: a folder of packed ones
 * @param combinations `{ node, native }`, `node` a major version, or undefined for the one that runs this
 * @returns how many journeys failed
 */
export function journeys({ registry, tarballs, combinations, cache, say = console.log }) {
  const packed = registry ? null : new Map(readPacked(tarballs).map(({ name, file }) => [name, file]));
  const work = mkdtempSync(join(tmpdir(), 'espalier-journeys-'));
  let failed = 0;
  try {
    for (const { node, native } of combinations) {
      const env = strangersEnvironment(nodeFolder(node));
      const version = spawnSync('node', ['--version'], { env, encoding: 'utf8' }).stdout.trim();
      for (const [name, packages, travel] of routes) {
        const folder = mkdtempSync(join(work, `${name}-`));
        const label = `${version.padEnd(9)} ${native ? 'with native   ' : 'without native'}  ${name.padEnd(7)}`;
        const begin = performance.now();
        const seconds = () => `${((performance.now() - begin) / 1000).toFixed(1)} s`;
        try {
          installInto(folder, packages, { packed, registry, env, native, cache });
          const installed = seconds();
          say(`ok    ${label}  ${travel({ folder, env, native })}  (installed after ${installed}, done after ${seconds()})`);
        } catch (error) {
          failed += 1;
          say(`FAIL  ${label}  ${error.message.trim().split('\n').join('\n      ')}`);
        }
        rmSync(folder, { recursive: true, force: true });
      }
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return failed;
}

/** name, what is installed, what is then done: gives what it saw, throws where that is not right. */
const routes = [
  ['alone', ['@espalier/dpo'], ({ folder, env }) => program(folder, 'alone.mjs', env).stdout.trim()],
  ['compose', ['@espalier/pipeline', '@espalier/models', '@espalier/data', '@espalier/rewards'], ({ folder, env, native }) => {
    const { stdout, stderr } = program(folder, 'compose.mjs', env);
    const said = stdout.trim().split('\n').at(-1);
    const notices = stderr.split('\n').filter((line) => line.startsWith('espalier:'));
    check(said === `backend ${native ? 'native' : 'cpu'}`, `it ran on: ${said}`);
    check(native ? notices.length === 0 : notices.length === 1 && /backend is cpu: .*--omit=optional/.test(notices[0]), `one line was to say why the Rust kernels are not used${native ? ', were they not' : ''}; standard error has:\n${stderr}`);
    return [said, ...notices].join('; ');
  }],
  ['command', ['@espalier/cli'], ({ folder, env, native }) => {
    const help = execute('npx', ['--no-install', 'espalier', '--help'], folder, env);
    for (const word of ['doctor', 'generate', 'rpt', 'run']) check(help.stdout.includes(`  ${word}`), `--help does not name ${word}:\n${help.stdout}`);
    const doctor = JSON.parse(execute('npx', ['--no-install', 'espalier', 'doctor', '--json'], folder, env).stdout);
    check(doctor.backend === (native ? 'native' : 'cpu'), `doctor chose ${doctor.backend}: ${JSON.stringify(doctor.backends)}`);
    check(native || /--omit=optional/.test(doctor.native.reason), `doctor gives as the reason: ${doctor.native.reason}`);
    return `backend ${doctor.backend}, ${doctor.native.reason.replace(folder, '.')}`;
  }],
];

function program(folder, name, env) {
  cpSync(join(root, 'tools/checks/journeys', name), join(folder, name));
  return execute('node', [name], folder, env);
}

function execute(command, args, cwd, env) {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, env, encoding: 'utf8', timeout: 300_000 });
  check(status === 0, `${command} ${args.join(' ')} ended with ${status}\n${stdout}\n${stderr}`);
  return { stdout, stderr };
}

function check(holds, message) {
  if (!holds) throw new Error(message);
}

if (process.argv[1] === import.meta.filename) {
  const { values } = parseArgs({ options: { node: { type: 'string' }, 'without-native': { type: 'boolean' }, every: { type: 'boolean' }, tarballs: { type: 'string' }, registry: { type: 'string' } } });
  const combinations = values.every ? ['20', '22', '24'].flatMap((node) => [{ node, native: true }, { node, native: false }]) : [{ node: values.node, native: !values['without-native'] }];
  const packing = mkdtempSync(join(tmpdir(), 'espalier-tarballs-'));
  try {
    const tarballs = values.registry ? undefined : (values.tarballs && resolve(values.tarballs)) || (packAll({ out: packing }), packing);
    const failed = journeys({ registry: values.registry, tarballs, combinations });
    console.log(`${combinations.length * routes.length - failed} passed, ${failed} failed`);
    process.exitCode = failed === 0 ? 0 : 1;
  } finally {
    rmSync(packing, { recursive: true, force: true });
  }
}
