// Builds the N-API binding of @tensorflow/tfjs-node or @tensorflow/tfjs-node-gpu with g++ against the libraries in PyPI's TensorFlow, and puts it where the
// package looks. One command, to be repeated without harm:
//
//   node tools/tensorflow/build.mjs [--package tfjs-node|tfjs-node-gpu] [--dir PROJECT] [--wheel FILE] [--force]
//
// --dir: the project whose node_modules hold the package; it is installed there, without its install script, when it is not. Default: .cache/tensorflow of this
// repository, which ESPALIER_TENSORFLOW_DIR then has to name. --wheel: TensorFlow's wheel, where it is here already. --force: again, whatever is there.
// Needs Linux on x86-64, Python 3 with pip, and g++. Ends with status 0, 1 when it failed, 2 when it was called wrongly.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { arch, platform } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { checkBinding } from './check.mjs';
import { compileBinding, nodeHeaders } from './compile.mjs';
import { BuildError } from './fail.mjs';
import { run } from './run.mjs';
import { unpackWheel } from './wheels.mjs';

const here = import.meta.dirname;
const repository = resolve(here, '../..');
const versions = JSON.parse(readFileSync(join(here, 'versions.json'), 'utf8'));
const stampName = 'espalier-build.json';

/** Bytes that the wheels, unpacked, and the largest of them beside that take. */
const room = { 'tfjs-node': 1.4e9, 'tfjs-node-gpu': 9e9 };

function options() {
  let values;
  try {
    ({ values } = parseArgs({ options: { package: { type: 'string', default: 'tfjs-node' }, dir: { type: 'string' }, wheel: { type: 'string' }, force: { type: 'boolean', default: false } } }));
  } catch (error) {
    throw new BuildError(error.message, undefined, 2);
  }
  const name = values.package.replace(/^@tensorflow\//, '');
  if (!(name in versions.wheels)) throw new BuildError(`there is no package "${values.package}"`, `one of ${Object.keys(versions.wheels).join(', ')}`, 2);
  if (values.wheel && !existsSync(values.wheel)) throw new BuildError(`the wheel ${values.wheel} is not there`, undefined, 2);
  if (values.dir && !existsSync(values.dir)) throw new BuildError(`the folder ${values.dir} is not there`, 'make it, or name your project', 2);
  if (platform() !== 'linux' || arch() !== 'x64') throw new BuildError(`this builds on Linux x86-64, not on ${platform()} ${arch()}`, `the package's own binary may do: npm install @tensorflow/${name}`, 2);
  return { ...values, name, dir: resolve(values.dir ?? join(repository, '.cache/tensorflow')) };
}

/** The npm package in the project, installed without its script (which downloads TensorFlow 2.9) when it is not there. */
function npmPackage(name, dir, say) {
  const full = `@tensorflow/${name}`;
  const root = join(dir, 'node_modules', full);
  const wanted = versions.npm[full];
  const versionOf = () => (existsSync(join(root, 'package.json')) ? JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version : null);
  if (versionOf() !== wanted) {
    mkdirSync(dir, { recursive: true });
    if (!existsSync(join(dir, 'package.json'))) writeFileSync(join(dir, 'package.json'), '{ "private": true }\n');
    say(`npm install --ignore-scripts ${full}@${wanted}`);
    run('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--save-exact', `${full}@${wanted}`], { cwd: dir, fix: 'npm comes with Node' });
  }
  if (versionOf() !== wanted) throw new BuildError(`npm did not put ${full} ${wanted} into ${root}`);
  return root;
}

/** A folder with `node_api.h`. */
function headersIn(work) {
  const own = nodeHeaders();
  if (own) return own;
  writeFileSync(join(work, 'package.json'), '{ "private": true }\n');
  run('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', `node-api-headers@${versions.npm['node-api-headers']}`], { cwd: work });
  return join(work, 'node_modules/node-api-headers/include');
}

async function build() {
  const say = (line) => console.error(line);
  const { name, dir, wheel, force } = options();
  const wheels = versions.wheels[name];
  const pinned = { package: `@tensorflow/${name}`, version: versions.npm[`@tensorflow/${name}`], wheels: wheel ? [{ file: resolve(wheel) }] : wheels.map(({ name: of, version }) => ({ name: of, version })) };
  const begin = performance.now();
  const root = npmPackage(name, dir, say);
  const [deps, binding] = [join(root, 'deps'), join(root, 'lib/napi-v8/tfjs_binding.node')];
  const stamp = join(deps, stampName);
  const fresh = !force && existsSync(stamp) && readFileSync(stamp, 'utf8') === JSON.stringify(pinned, null, 2);
  if (!fresh || !existsSync(binding)) {
    for (const entry of readdirSync(root)) if (entry.startsWith('.espalier-')) rmSync(join(root, entry), { recursive: true, force: true }); // of a build that was killed
    const { bavail, bsize } = statfsSync(root);
    if (bavail * bsize < room[name]) throw new BuildError(`${(bavail * bsize / 1e9).toFixed(1)} GB are free beside ${root}`, `${(room[name] / 1e9).toFixed(1)} GB would do`);
    const work = mkdtempSync(join(root, '.espalier-'));
    try {
      const unpacked = join(work, 'unpacked');
      for (const one of wheel ? [{ name: 'tensorflow', version: 'as given' }] : wheels) {
        say(wheel ? `${wheel}` : `${one.name} ${one.version} from PyPI`);
        await unpackWheel(one, { target: unpacked, work, pythonVersion: versions.python, file: wheel, say });
      }
      const made = join(work, 'deps');
      mkdirSync(join(made, 'lib'), { recursive: true });
      for (const file of ['libtensorflow_cc.so.2', 'libtensorflow_framework.so.2']) renameSync(join(unpacked, 'tensorflow', file), join(made, 'lib', file));
      if (existsSync(join(unpacked, 'nvidia'))) renameSync(join(unpacked, 'nvidia'), join(made, 'nvidia'));
      say('compiling the binding');
      compileBinding({ root, deps: made, include: join(unpacked, 'tensorflow/include'), headers: headersIn(work), out: join(work, 'tfjs_binding.node') });
      writeFileSync(join(made, stampName), JSON.stringify(pinned, null, 2));
      rmSync(deps, { recursive: true, force: true });
      renameSync(made, deps);
      mkdirSync(dirname(binding), { recursive: true });
      renameSync(join(work, 'tfjs_binding.node'), binding);
    } finally {
      rmSync(work, { recursive: true, force: true });
    }
  }
  const found = checkBinding(root);
  const seconds = ((performance.now() - begin) / 1000).toFixed(1);
  const from = wheel ? wheel : wheels.map(({ name: of, version }) => `${of} ${version}`).slice(0, 1).join('');
  console.log(`${pinned.package} ${pinned.version} with TensorFlow ${found.tensorflow} (${from}), N-API 8, Node ${process.version}: ${fresh ? 'it was built before' : `built in ${seconds} s`}; it multiplies right${found.gpu ? ', on a GPU' : ''}`);
  console.log(`in ${relative(process.cwd(), root) || '.'}; where it is not in the node_modules beside @espalier/tensor: export ESPALIER_TENSORFLOW_DIR=${dir}`);
}

try {
  await build();
} catch (error) {
  if (!(error instanceof BuildError)) throw error;
  console.error(`tools/tensorflow: ${error.message}`);
  process.exitCode = error.status;
}
