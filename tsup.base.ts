import { existsSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { basename } from 'node:path';
import { defineConfig } from 'tsup';

/** Takes away what earlier builds left: files under names with a hash (`chunk-6GF5GZ6F.js`) that this build did not write, and declarations whose source is gone. */
const withoutOldFiles = {
  name: 'without-old-files',
  setup(build: { initialOptions: { metafile?: boolean }; onEnd(callback: (result: { metafile?: { outputs: object } }) => Promise<void>): void }) {
    build.initialOptions.metafile = true;
    build.onEnd(async ({ metafile }) => {
      if (!metafile) return;
      const written = new Set(Object.keys(metafile.outputs).map((path) => basename(path)));
      const isOld = (path: string) => (path.endsWith('.d.ts') ? !existsSync(`src/${path.replace(/\.d\.ts$/, '.ts')}`) : /-[A-Z0-9]{8}\.js(\.map)?$/.test(path) && !written.has(basename(path)));
      const files = await readdir('dist', { recursive: true }).catch(() => []);
      await Promise.all(files.filter(isOld).map((path) => rm(`dist/${path}`, { force: true })));
    });
  },
};

/** What every package's build shares: ESM for Node, one file an entry point; declarations come from `tsc -b`, their imports written out by `tools/build/full-specifiers.mjs`. */
export function packageConfig(entry: string[], more: Record<string, unknown> = {}) {
  return defineConfig({ entry, format: 'esm', platform: 'node', target: 'node20', dts: false, clean: false, sourcemap: true, splitting: true, silent: true, esbuildPlugins: [withoutOldFiles], ...more });
}
