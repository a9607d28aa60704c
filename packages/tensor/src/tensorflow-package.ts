import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { EspalierError } from '@espalier/spec';
import { findBackend, getBackend, setBackend } from '@tensorflow/tfjs-core';

export type TensorflowPackage = '@tensorflow/tfjs-node' | '@tensorflow/tfjs-node-gpu';

/** What tfjs-node's backend offers beyond tfjs's contract. */
interface TensorflowBackend {
  isUsingGpuDevice: boolean;
  binding: { TF_Version: string };
}

interface LoadedTensorflow {
  name: TensorflowPackage;
  gpu: boolean;
  version: string;
}

/** The package that this process has loaded: a second one would put its kernels in the place of the first one's. */
let loaded: LoadedTensorflow | null = null;

export const loadedTensorflow = (): LoadedTensorflow | null => loaded;

/** How to get the package: the end of every "not here". */
const howTo = (name: TensorflowPackage) => `npm install ${name}, or build it against a current TensorFlow with tools/tensorflow/build.mjs --package ${name.slice('@tensorflow/'.length)}`;

/**
 * The folder of an installed package with its binding: in the project that `ESPALIER_TENSORFLOW_DIR` names, where it is set, else among the packages beside this one.
 * @throws EspalierError `backend_unavailable` that says what is missing
 */
export function locateTensorflow(name: TensorflowPackage): string {
  const dir = process.env.ESPALIER_TENSORFLOW_DIR;
  const require = createRequire(dir ? join(resolve(dir), 'package.json') : import.meta.url);
  let root: string;
  try {
    root = dirname(require.resolve(`${name}/package.json`));
  } catch {
    throw new EspalierError('backend_unavailable', `${name} is not installed${dir ? ` in ESPALIER_TENSORFLOW_DIR, ${dir}` : ''}: ${howTo(name)}`);
  }
  if (!existsSync(join(root, 'lib/napi-v8/tfjs_binding.node'))) throw new EspalierError('backend_unavailable', `${root} has no binding: ${howTo(name)}`);
  return root;
}

/**
 * Whether a GPU for CUDA seems to be here: its driver's files, unless `CUDA_VISIBLE_DEVICES` hides it. On Windows only the package itself can tell.
 */
export function hasGpu(exists: (path: string) => boolean = existsSync, { platform, env }: Pick<NodeJS.Process, 'platform' | 'env'> = process): boolean {
  const visible = env.CUDA_VISIBLE_DEVICES;
  if (visible !== undefined && (visible.trim() === '' || visible.trim().startsWith('-'))) return false;
  return platform === 'win32' || ['/dev/nvidiactl', '/proc/driver/nvidia/version', '/dev/dxg'].some((path) => exists(path));
}

/**
 * Loads a TensorFlow package, once a process. The selected backend stays what it was.
 * @throws EspalierError `backend_unavailable`
 */
export function loadTensorflow(name: TensorflowPackage): LoadedTensorflow {
  if (loaded) {
    if (loaded.name !== name) throw new EspalierError('backend_unavailable', `${loaded.name} is loaded in this process, and has the place of ${name}`);
    return loaded;
  }
  const root = locateTensorflow(name);
  const require = createRequire(join(root, 'package.json'));
  shimNodeUtil(require('node:util') as Record<string, unknown>);
  process.env.TF_CPP_MIN_LOG_LEVEL ??= hasGpu() ? '2' : '3'; // it greets on standard error, and calls it an error that there is no GPU
  const selected = getBackend();
  require(root);
  if (selected) void setBackend(selected);
  const { isUsingGpuDevice: gpu, binding } = findBackend('tensorflow') as unknown as TensorflowBackend;
  return (loaded = { name, gpu, version: binding.TF_Version });
}

/** tfjs-node 4.22 calls helpers of `util` that Node 23 removed, and that Node 22 warns about: these do the same and are silent. */
function shimNodeUtil(util: Record<string, unknown>): void {
  util.isNullOrUndefined = (x: unknown) => x === null || x === undefined;
  util.isArray = Array.isArray;
}
