// A whole release without the world: npm run release:local [-- --every]
// Starts a registry on loopback, publishes every package to it, installs from it by name in empty folders and does there what users do first
// (tools/checks/journeys.mjs), stops it, and leaves nothing behind. The packages must be built. --every: on Node 20, 22 and 24, with the prebuilt Rust library and without.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { journeys } from '../checks/journeys.mjs';
import { packAll } from './pack.mjs';
import { publishAll } from './publish.mjs';
import { startRegistry } from './registry.mjs';
import { strangersEnvironment } from './workspace.mjs';

const { values } = parseArgs({ options: { every: { type: 'boolean' } } });
const combinations = ['20', '22', '24'].flatMap((node) => [{ node, native: true }, { node, native: false }]).filter(({ node }) => values.every || node === process.versions.node.split('.')[0]);

const work = mkdtempSync(join(tmpdir(), 'espalier-release-'));
let registry;
const leaveNothing = async () => {
  await registry?.stop();
  rmSync(work, { recursive: true, force: true });
};
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => leaveNothing().finally(() => process.exit(1)));

try {
  const tarballs = join(work, 'tarballs');
  const packed = packAll({ out: tarballs });
  registry = await startRegistry(work);
  console.log(`${packed.length} packages packed; a registry listens at ${registry.url}`);

  // npm's own cache and settings stay as they are: this registry is gone in a minute.
  const cache = join(work, 'cache');
  writeFileSync(join(work, '.npmrc'), `registry=${registry.url}\n${registry.url.replace('http:', '')}:_authToken=nobody\n`);
  const env = strangersEnvironment(undefined, { npm_config_userconfig: join(work, '.npmrc'), npm_config_cache: cache });
  const published = publishAll({ tarballs, env, cwd: work, flags: ['--provenance=false'], say: () => undefined });
  const again = publishAll({ tarballs, env, cwd: work, flags: ['--provenance=false'], say: () => undefined });
  if (published.length !== packed.length || again.length !== 0) throw new Error(`${published.length} of ${packed.length} packages were published, and ${again.length} a second time`);
  console.log(`${published.length} packages published; a second try publishes none`);

  const failed = journeys({ registry: registry.url, combinations, cache });
  console.log(`${combinations.length * 3 - failed} passed, ${failed} failed`);
  process.exitCode = failed === 0 ? 0 : 1;
} finally {
  await leaveNothing();
}
