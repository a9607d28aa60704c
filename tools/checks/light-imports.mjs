// A loss on plain arrays must load no tensor library, and quickly: every `./loss`, as built. Prints what each loads and the median time of its import, in
// processes of their own. Fails when `@tensorflow/*`, the engine or the models are among what is loaded. node tools/checks/light-imports.mjs
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('../..', import.meta.url));
const heavy = /node_modules\/@tensorflow\/|packages\/(native|tensor|models|engine|trainer)\//;
let failed = false;
for (const name of ['sft', 'dpo', 'reward-models', 'ppo', 'grpo', 'distill', 'rpt']) {
  const specifier = `@espalier/${name}/loss`;
  const { metafile } = await build({ stdin: { contents: `export * from ${JSON.stringify(specifier)}`, resolveDir: root }, bundle: true, write: false, metafile: true, platform: 'node', format: 'esm', logLevel: 'error' });
  const loaded = Object.keys(metafile.inputs);
  const found = loaded.filter((file) => heavy.test(file));
  const times = Array.from({ length: 5 }, () => Number(execFileSync(process.execPath, ['--input-type=module', '-e', `const began = performance.now(); await import(${JSON.stringify(specifier)}); console.log(performance.now() - began);`], { cwd: root }))).sort((a, b) => a - b);
  console.log(`${specifier}: ${loaded.length - 1} files, ${times[2].toFixed(0)} ms${found.length > 0 ? `, among them ${found.join(', ')}` : ''}`);
  failed ||= found.length > 0;
}
process.exitCode = failed ? 1 : 0;
