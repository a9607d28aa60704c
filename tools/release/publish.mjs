// Publishes packed tarballs, those that need no other first, and leaves out what the registry has already: node tools/release/publish.mjs --tarballs FOLDER [--dry-run]
// In the release workflow npm proves who it is by OIDC (trusted publishing), and each package carries its provenance. Prints `New tag: name@version` for each
// that was published, which changesets/action reads.
import { spawnSync } from 'node:child_process';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { readPacked } from './pack.mjs';
import { run } from './workspace.mjs';

/** @returns the names of what was published */
export function publishAll({ tarballs, env = process.env, cwd, flags = [], say = console.log }) {
  const published = [];
  for (const { name, version, file } of readPacked(tarballs)) {
    if (isPublished(name, version, { env, cwd })) {
      say(`${name}@${version} is there already`);
      continue;
    }
    run('npm', ['publish', file, '--loglevel=error', ...flags], { env, cwd });
    published.push(name);
    say(`New tag: ${name}@${version}`);
  }
  return published;
}

/** @throws where the registry gives no answer: that is not the same as not being there */
function isPublished(name, version, { env, cwd }) {
  const { status, stdout, stderr } = spawnSync('npm', ['view', `${name}@${version}`, 'version', '--json'], { env, cwd, encoding: 'utf8' });
  if (status === 0) return stdout.trim() !== '';
  if (/E404/.test(`${stdout}${stderr}`)) return false;
  throw new Error(`whether ${name}@${version} is published could not be found out:\n${stdout}${stderr}`);
}

if (process.argv[1] === import.meta.filename) {
  const { values } = parseArgs({ options: { tarballs: { type: 'string' }, 'dry-run': { type: 'boolean' } } });
  if (!values.tarballs) throw new Error('--tarballs FOLDER is missing');
  const published = publishAll({ tarballs: resolve(values.tarballs), flags: values['dry-run'] ? ['--dry-run'] : [] });
  console.log(`${published.length} packages published${values['dry-run'] ? ' (no: a rehearsal)' : ''}`);
}
