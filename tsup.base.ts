import { readdir, rm } from 'node:fs/promises';
import { basename } from 'node:path';
import { defineConfig } from 'tsup';

/** Takes away what earlier builds left under names with a hash (`chunk-6GF5GZ6F.js`): esbuild writes such files, and nobody imports them any more. */
const withoutOldChunks = {
  name: 'without-old-chunks',
  setup(build: { initialOptions: { metafile?: boolean }; onEnd(callback: (result: { metafile?: { outputs: object } }) => Promise<void>): void }) {
    build.initialOptions.metafile = true;
    build.onEnd(async ({ metafile }) => {
      if (!metafile) return;
      const written = new Set(Object.keys(metafile.outputs).map((path) => basename(path)));
      const old = (await readdir('dist').catch(() => [])).filter((name) => /-[A-Z0-9]{8}\.js(\.map)?$/.test(name) && !written.has(name));
      await Promise.all(old.map((name) => rm(`dist/${name}`, { force: true })));
    });
  },
};

/** What every package's build shares: ESM for Node, one file an entry point; declarations come from `tsc -b`, their imports written out by `tools/build/full-specifiers.mjs`. */
export function packageConfig(entry: string[], more: Record<string, unknown> = {}) {
  return defineConfig({ entry, format: 'esm', platform: 'node', target: 'node20', dts: false, clean: false, sourcemap: true, splitting: true, silent: true, esbuildPlugins: [withoutOldChunks], ...more });
}
