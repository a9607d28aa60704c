// Builds the CPU binding, where it is not, and runs the suites of tensor, models and engine on the backend `tensorflow`, then the self-test by the command itself.
//
//   node tools/tensorflow/test.mjs [FILTER …]      what vitest is to run; default: the three packages
//
// Ends with status 1 when something fails.
import { spawnSync } from 'node:child_process';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '../..');
const dir = process.env.ESPALIER_TENSORFLOW_DIR ?? join(root, '.cache/tensorflow');
const env = { ...process.env, ESPALIER_BACKEND: 'tensorflow', ESPALIER_TENSORFLOW_DIR: dir, TF_CPP_MIN_LOG_LEVEL: '2' };

function run(command, args, environment = process.env) {
  const begin = performance.now();
  const { status, error } = spawnSync(command, args, { cwd: root, env: environment, stdio: 'inherit' });
  if (error) throw error;
  console.log(`${[command, ...args].join(' ').slice(0, 80)}: ${status === 0 ? 'done' : `status ${status}`} after ${((performance.now() - begin) / 1000).toFixed(0)} s`);
  return status === 0;
}

const filters = process.argv.length > 2 ? process.argv.slice(2) : ['packages/tensor/', 'packages/models/', 'packages/engine/'];
const built = run(process.execPath, [join(import.meta.dirname, 'build.mjs'), ...(process.env.ESPALIER_TENSORFLOW_DIR ? ['--dir', dir] : [])]);
// What compares Rust kernels with others has nothing to say about TensorFlow.
const passed = built && run('npx', ['--no-install', 'vitest', 'run', ...filters, '--exclude', '**/native-parity.test.ts'], env);
const tested = passed && run('npx', ['--no-install', 'espalier', 'doctor', '--selftest'], env);
process.exitCode = tested ? 0 : 1;
