// Whether the package loads and computes, in a process of its own: a library that does not fit may end it.
import { spawnSync } from 'node:child_process';
import { BuildError } from './fail.mjs';

const program = `
const util = require('node:util');
util.isNullOrUndefined = (x) => x === null || x === undefined;
util.isArray = Array.isArray;
const tf = require(process.argv[1]);
const product = [...tf.matMul(tf.tensor2d([[1, 2], [3, 4]]), tf.tensor2d([[5], [6]])).dataSync()];
const { binding, isUsingGpuDevice } = tf.backend();
console.log(JSON.stringify({ product, tensorflow: binding.TF_Version, gpu: isUsingGpuDevice }));
`;

/** @param root the npm package's folder */
export function checkBinding(root) {
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, ['-e', program, root], { encoding: 'utf8', env: { ...process.env, TF_CPP_MIN_LOG_LEVEL: '3' } });
  if (status !== 0) throw new BuildError(`${root} does not load (${signal ?? `status ${status}`}):\n  ${stderr.trim().split('\n').slice(0, 8).join('\n  ')}`, 'again with --force');
  const found = JSON.parse(stdout.trim().split('\n').at(-1));
  if (found.product.join() !== '17,39') throw new BuildError(`${root} multiplies wrongly: ${found.product}, not 17,39`);
  return found;
}
