// The N-API binding, from the source inside the npm package, against TensorFlow's C library.
import { existsSync, mkdirSync, readdirSync, symlinkSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { run } from './run.mjs';

const compiler = process.env.CXX || 'g++';

/** The folder of `node_api.h`: of this Node, or of the package `node-api-headers`. */
export function nodeHeaders() {
  const own = resolve(dirname(process.execPath), '..', 'include', 'node');
  return existsSync(join(own, 'node_api.h')) ? own : null;
}

/**
 * @param root the npm package, which has the source in `binding/`
 * @param deps where `lib/` and the wheel's `include` folder lie
 * @param out the file to write
 */
export function compileBinding({ root, deps, include, headers, out }) {
  const lib = join(deps, 'lib');
  // The C interface is in libtensorflow_cc. The linker finds it under the name that the package's own build asks for.
  for (const [name, file] of [['libtensorflow.so', 'libtensorflow_cc.so.2'], ['libtensorflow_framework.so', 'libtensorflow_framework.so.2']]) if (!existsSync(join(lib, name))) symlinkSync(file, join(lib, name));
  mkdirSync(dirname(out), { recursive: true });
  run(
    compiler,
    [
      '-std=c++17', '-O2', '-fPIC', '-shared', '-w', '-DNAPI_VERSION=8', `-I${include}`, `-I${headers}`,
      join(root, 'binding/tfjs_backend.cc'), join(root, 'binding/tfjs_binding.cc'),
      '-o', out, `-L${lib}`, '-Wl,-rpath,$ORIGIN/../../deps/lib', '-ltensorflow', '-ltensorflow_framework', ...cudaLibraries(deps),
    ],
    { doing: 'compiling the binding', fix: 'install a C++17 compiler, or name one with CXX' },
  );
}

/**
 * CUDA's libraries as needed ones of the binding: TensorFlow opens them by name, and what is loaded is found by its name. (The wheel's own way goes over
 * Python.)
 */
function cudaLibraries(deps) {
  const nvidia = join(deps, 'nvidia');
  if (!existsSync(nvidia)) return [];
  const folders = readdirSync(nvidia).map((name) => join(nvidia, name, 'lib')).filter((folder) => existsSync(folder));
  const wanted = /^lib(cudart|cublas|cublasLt|cudnn|cufft|curand|cusolver|cusparse|nvJitLink|nccl|cupti)\.so\.\d+$/;
  const files = folders.flatMap((folder) => readdirSync(folder).filter((name) => wanted.test(name)).map((name) => `-l:${name}`));
  return ['-Wl,--no-as-needed', ...folders.flatMap((folder) => [`-L${folder}`, `-Wl,-rpath,$ORIGIN/../../deps/nvidia/${folder.split('/').at(-2)}/lib`, `-Wl,-rpath-link,${folder}`]), ...files];
}
