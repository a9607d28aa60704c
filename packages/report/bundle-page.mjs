// What runs in the browser, from `browser/` and uPlot: one script and one style sheet. The build writes them into `dist`; from the sources they are
// made when they are first asked for.
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

/** @returns {Promise<{ script: string; style: string }>} */
export async function bundlePage() {
  const licence = await readFile(new URL('../LICENSE', import.meta.resolve('uplot')), 'utf8'); // travels with the page
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL('browser/main.ts', import.meta.url))],
    outdir: 'page',
    bundle: true,
    write: false,
    format: 'iife',
    platform: 'browser',
    target: ['chrome109', 'firefox115', 'safari16.4'],
    minify: true,
    charset: 'utf8',
    banner: { js: `/*! The charts are drawn by uPlot.\n${licence.replaceAll('*/', '* /').trim()}\n*/` },
    logLevel: 'silent',
  });
  const text = (ending) => outputFiles.find(({ path }) => path.endsWith(ending)).text;
  return { script: text('.js'), style: text('.css') };
}
