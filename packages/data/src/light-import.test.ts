import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { expect, it } from 'vitest';

/** Files that an entry loads at once, not those that it loads when a file needs them. */
async function loadedAtOnce(entry: string): Promise<string[]> {
  const path = fileURLToPath(new URL(entry, import.meta.url));
  const { metafile } = await build({ entryPoints: [path], bundle: true, write: false, metafile: true, platform: 'node', format: 'esm', splitting: true, outdir: 'out', conditions: ['@espalier/source'], absWorkingDir: fileURLToPath(new URL('../', import.meta.url)), logLevel: 'error' });
  const seen = new Set<string>();
  const visit = (file: string): void => {
    if (seen.has(file) || !metafile.inputs[file]) return;
    seen.add(file);
    for (const { path: next, kind } of metafile.inputs[file].imports) if (kind !== 'dynamic-import') visit(next);
  };
  visit(Object.keys(metafile.inputs).find((file) => path.endsWith(`/${file}`))!);
  return [...seen];
}

it('readers of other formats and the hub are loaded when they are needed', async () => {
  const files = await loadedAtOnce('./index.ts');
  expect(files.length).toBeGreaterThan(20);
  expect(files.filter((file) => /node_modules\/(hyparquet|hyparquet-compressors|fzstd|hysnappy|csv-parse|@huggingface)\//.test(file))).toEqual([]);
  expect((await loadedAtOnce('./hub/index.ts')).filter((file) => file.includes('node_modules'))).toEqual([]);
});
