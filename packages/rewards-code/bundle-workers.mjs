// What runs in the sandbox processes, from `workers/`: one script each, with all that it needs, since such a process can open no file.
// The build writes them into `dist`; from the sources they are made when they are first asked for.
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const require = createRequire(import.meta.url);
const licences = { quickjs: ['quickjs-emscripten-core'], typescript: [], python: ['@bjorn3/browser_wasi_shim'] };

/** @param {'quickjs' | 'typescript' | 'python'} name @returns {Promise<string>} */
export async function bundleWorker(name) {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL(`workers/${name}-worker.ts`, import.meta.url))],
    bundle: true,
    write: false,
    format: 'cjs',
    platform: 'node',
    target: 'node20',
    minifySyntax: true,
    alias: { '@jitl/quickjs-wasmfile-release-sync/emscripten-module': require.resolve('@jitl/quickjs-wasmfile-release-sync/emscripten-module') }, // the one that imports nothing while it runs
    logLevel: 'silent',
    banner: { js: (await Promise.all(licences[name].map(licenceOf))).join('\n') },
  });
  return outputFiles[0].text;
}

/** QuickJS compiled to WebAssembly. @returns {Promise<Uint8Array>} */
export function quickjsWasm() {
  return readFile(require.resolve('@jitl/quickjs-wasmfile-release-sync/wasm'));
}

/** Licences travel with what they are of. */
async function licenceOf(name) {
  const folder = dirname(join(require.resolve(name), '..'));
  for (const file of ['LICENSE', 'LICENSE-MIT']) {
    const text = await readFile(join(folder, file), 'utf8').catch(() => null);
    if (text) return `/*! ${name}\n${text.replaceAll('*/', '* /').trim()}\n*/`;
  }
  throw new Error(`${name} has no licence in ${folder}`);
}
