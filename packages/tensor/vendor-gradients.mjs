/**
 * Writes src/vendor/register-gradients.js: the gradients of tfjs-core's own ops.
 *
 * tfjs-core's Node entry registers none, and its `dist/register_all_gradients.js` cannot be imported by Node (its imports carry no file
 * extensions). So that one module is bundled; everything that the package root exports is imported from there, the rest (a few pure helpers and
 * ops that are not exported) goes along. Run it again when the version of @tensorflow/tfjs-core changes: `node vendor-gradients.mjs`.
 */
import { build } from 'esbuild';
import { createRequire } from 'node:module';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const require = createRequire(import.meta.url);
const entry = require.resolve('@tensorflow/tfjs-core/dist/register_all_gradients.js');
const dist = path.dirname(entry);
const { version } = JSON.parse(await readFile(path.join(dist, '../package.json'), 'utf8'));
const root = new Set(Object.keys(require('@tensorflow/tfjs-core')));

/** The named exports of one of tfjs-core's modules. */
async function exportsOf(file) {
  const result = await build({ entryPoints: [file], bundle: false, write: false, metafile: true, format: 'esm' });
  return Object.values(result.metafile.outputs)[0].exports;
}

const fromRoot = {
  name: 'from-root',
  setup(b) {
    const known = new Map();
    b.onResolve({ filter: /^\./ }, async ({ path: request, resolveDir, kind }) => {
      if (kind === 'entry-point') return undefined;
      const file = path.resolve(resolveDir, request.endsWith('.js') ? request : `${request}.js`);
      // Gradient configurations are what this bundle is for; the engine itself is reached through the package root.
      if (!known.has(file)) known.set(file, (await exportsOf(file)).every((name) => root.has(name)));
      return known.get(file) && !file.includes(`${path.sep}gradients${path.sep}`) ? { path: '@tensorflow/tfjs-core', external: true } : { path: file, sideEffects: false };
    });
  },
};

await build({
  entryPoints: [entry],
  outfile: fileURLToPath(new URL('src/vendor/register-gradients.js', import.meta.url)),
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  minify: true,
  legalComments: 'none',
  plugins: [fromRoot],
  banner: {
    js: `/* eslint-disable */\n/* Made by vendor-gradients.mjs from @tensorflow/tfjs-core ${version}: Copyright Google LLC, licensed under the Apache License, Version 2.0. */`,
  },
});
