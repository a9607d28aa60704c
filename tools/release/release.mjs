// What the release workflow publishes, once no changeset is left: packs everything with the libraries of every platform (RELEASE_LIBRARIES, a folder), holds
// those very tarballs to the checks, and publishes what the registry has not. npm run release
import { rmSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { join, resolve } from 'node:path';
import { packAll } from './pack.mjs';
import { publishAll } from './publish.mjs';
import { root } from './workspace.mjs';

const libraries = process.env.RELEASE_LIBRARIES;
if (!libraries) throw new Error('RELEASE_LIBRARIES names no folder with the libraries of the platforms (npm run release:local rehearses a release without)');
const tarballs = join(root, '.cache/release');
rmSync(tarballs, { recursive: true, force: true });
packAll({ out: tarballs, libraries: resolve(libraries), everyPlatform: true });
for (const check of ['packages.mjs', 'journeys.mjs']) {
  const { status } = spawnSync(process.execPath, [join(root, 'tools/checks', check), '--tarballs', tarballs], { stdio: 'inherit' });
  if (status !== 0) throw new Error(`${check} found what must not be published`);
}
publishAll({ tarballs });
