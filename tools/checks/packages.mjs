// Every package as it will be published: packed, taken apart, and held to what npm, bundlers and TypeScript ask of it. node tools/checks/packages.mjs [--tarballs FOLDER] [NAME …]
// The packages must be built. Looks at package.json and at what lies in the tarball, then lets publint (strict) and attw (types, ESM only) look.
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import { packAll, readPacked } from '../release/pack.mjs';
import { root, run } from '../release/workspace.mjs';
import { contentFaults } from './packages/contents.mjs';
import { manifestFaults } from './packages/manifest.mjs';

const { values, positionals } = parseArgs({ options: { tarballs: { type: 'string' } }, allowPositionals: true });
const work = mkdtempSync(join(tmpdir(), 'espalier-packages-'));
let faulty = 0;
try {
  const packed = values.tarballs ? readPacked(resolve(values.tarballs)) : packAll({ out: join(work, 'tarballs') });
  const chosen = packed.filter(({ name }) => positionals.length === 0 || positionals.includes(name));
  if (chosen.length === 0) throw new Error(`no package is called ${positionals.join(', ')}`);
  for (const { name, file, manifest } of chosen) {
    const isLibrary = manifest.os !== undefined;
    const dir = join(work, 'unpacked', name);
    mkdirSync(dir, { recursive: true });
    run('tar', ['-xzf', file, '-C', dir, '--strip-components=1']);
    const faults = [...manifestFaults(manifest, { isLibrary }), ...contentFaults(dir, manifest, { isLibrary }), ...(await publintFaults(file)), ...(isLibrary ? [] : attwFaults(file))];
    console.log(`${faults.length === 0 ? 'ok   ' : 'FAULT'} ${name}`);
    for (const fault of faults) console.log(`      - ${fault}`);
    if (faults.length > 0) faulty += 1;
  }
  console.log(`\n${chosen.length - faulty} packages ready to be published, ${faulty} not`);
} finally {
  rmSync(work, { recursive: true, force: true });
}
process.exitCode = faulty === 0 ? 0 : 1;

async function publintFaults(file) {
  const bytes = readFileSync(file);
  const { messages, pkg } = await publint({ pack: { tarball: bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) }, strict: true });
  return messages.map((message) => `publint: ${formatMessage(message, pkg, { color: false })}`);
}

function attwFaults(file) {
  try {
    run(process.execPath, [join(root, 'node_modules/@arethetypeswrong/cli/dist/index.js'), file, '--profile', 'esm-only', '--no-emoji', '--no-color', '--format', 'ascii']);
    return [];
  } catch (error) {
    return [`attw: ${error.message.split('\n').slice(1).join('\n        ').trim()}`];
  }
}
