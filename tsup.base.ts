import { defineConfig } from 'tsup';

/** What every package's build shares: ESM for Node, one file an entry point; declarations come from `tsc -b`, their imports written out by `tools/build/full-specifiers.mjs`. */
export function packageConfig(entry: string[], more: Record<string, unknown> = {}) {
  return defineConfig({ entry, format: 'esm', platform: 'node', target: 'node20', dts: false, clean: false, sourcemap: true, splitting: true, silent: true, ...more });
}
