// Runs the test suite of @tensorflow/tfjs-core on one backend:
//
//   node tools/tfjs-suite/run.mjs [native|cpu] [--grep TEXT]
//
// `native` is @espalier/native as built (packages/native/dist and espalier-native.node). exclusions.json names the specs that are left out, each with its reason;
// more than one in a hundred is an error. Ends with status 1 when a spec fails, or when an exclusion names no spec.

import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const here = dirname(fileURLToPath(import.meta.url));
const root = resolve(here, '../..');
const require = createRequire(import.meta.url);
const [backend = 'native', ...rest] = process.argv.slice(2);
const grep = rest[0] === '--grep' ? rest[1] : undefined;
/** Of all specs, at most this part may be left out. */
const excludedAtMost = 0.01;
/** A bundle that lost its tests would pass trivially. */
const specsAtLeast = 4000;

const nativeEntry = join(root, 'packages/native/dist/index.js');
const setups = {
  cpu: `import '@tensorflow/tfjs-backend-cpu';`,
  native: `import { nativeStatus, registerNativeBackend } from ${JSON.stringify(nativeEntry)};
if (!registerNativeBackend()) throw new Error(nativeStatus().reason);`,
};
if (!(backend in setups)) stop(`unknown backend '${backend}': one of ${Object.keys(setups).join(', ')}`);
if (backend === 'native' && !existsSync(nativeEntry)) stop('packages/native is not built: npm run build');

function stop(message) {
  console.error(`tfjs-suite: ${message}`);
  process.exit(2);
}

const entry = `
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-core/dist/public/chained_ops/register_all_chained_ops';
import '@tensorflow/tfjs-core/dist/register_all_gradients';
${setups[backend]}
import { setTestEnvs } from '@tensorflow/tfjs-core/dist/jasmine_util';
setTestEnvs([{ name: '${backend}', backendName: '${backend}', flags: {}, isDataSync: true }]);
globalThis.espalierKernels = () => tf.getKernelsForBackend('${backend}').length;
require('@tensorflow/tfjs-core/dist/tests'); // an import would run before setTestEnvs
`;

const folder = mkdtempSync(join(tmpdir(), 'tfjs-suite-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
const bundle = join(folder, 'suite.cjs');
await build({
  stdin: { contents: entry, resolveDir: root, loader: 'js' },
  bundle: true,
  platform: 'node',
  format: 'cjs',
  outfile: bundle,
  mainFields: ['module', 'main'],
  ignoreAnnotations: true, // the tests are marked as free of side effects
  external: ['jasmine-core'],
  define: { 'import.meta.url': JSON.stringify(pathToFileURL(nativeEntry).href) }, // where the loader looks for the library
  logLevel: 'error',
});

// The suite asks for `jasmine-core` by path and reports through console.
process.env.NODE_PATH = join(root, 'node_modules');
require('node:module').Module._initPaths();

const Jasmine = require('jasmine');
const jasmine = new Jasmine({ projectBaseDir: folder });
jasmine.randomizeTests(false);
jasmine.exitOnCompletion = false;
jasmine.env.clearReporters();

const exclusions = JSON.parse(readFileSync(join(here, 'exclusions.json'), 'utf8'))[backend] ?? [];
const unused = new Set(exclusions.map(({ spec }) => spec));
for (const { spec, reason } of exclusions) if (!reason) stop(`the exclusion '${spec}' has no reason`);
const print = console.log;
const counts = { passed: 0, failed: 0, pending: 0, excluded: 0 };
jasmine.addReporter({
  specDone(result) {
    counts[result.status]++;
    if (result.status !== 'failed') return;
    print(`FAILED ${result.fullName}`);
    for (const { message } of result.failedExpectations) print(`    ${message.split('\n').slice(0, 3).join('\n    ')}`);
  },
  suiteDone(result) {
    for (const { message } of result.failedExpectations ?? []) {
      counts.failed++;
      print(`FAILED in ${result.fullName}: ${message}`);
    }
  },
});
require(bundle);
// After the bundle, because the suite sets a filter of its own.
jasmine.env.configure({
  specFilter: (spec) => {
    const name = spec.getFullName();
    const excluded = exclusions.some((exclusion) => exclusion.spec === name);
    if (excluded) unused.delete(name);
    return !excluded && (grep === undefined || name.includes(grep));
  },
});
// The suite provokes hundreds of warnings, and prints profiles in debug mode.
console.log = console.warn = () => {};
await jasmine.execute();

const total = counts.passed + counts.failed + counts.pending + counts.excluded;
print(`tfjs-core's suite on ${backend}: ${counts.passed} passed, ${counts.failed} failed, ${counts.pending} pending, ${counts.excluded} excluded, of ${total} specs`);
let failed = counts.failed > 0;
if (grep === undefined) {
  for (const spec of unused) print(`the exclusion '${spec}' names no spec`);
  if (counts.excluded > excludedAtMost * total) print(`more than ${excludedAtMost * 100} % of the specs are excluded`);
  if (total < specsAtLeast) print(`only ${total} specs were found`);
  failed ||= unused.size > 0 || counts.excluded > excludedAtMost * total || total < specsAtLeast;
}
process.exit(failed ? 1 : 0);
