// The prebuilt Rust libraries as packages of their own, as napi-rs names and describes them: npm installs the one that fits (`os`, `cpu`, `libc`), since
// `@espalier/native` lists all of them as optional dependencies of its own version.
import { copyFileSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readJson, root } from './workspace.mjs';

export const platforms = readJson(join(root, 'tools/release/platforms.json'));
const nativeFolder = join(root, 'packages/native');

/** The name of the platform that this runs on, among `platforms`; null where none fits. */
export function thisPlatform() {
  const libc = process.report.getReport().header.glibcVersionRuntime ? 'glibc' : 'musl';
  return platforms.find(({ os, cpu, libc: wanted }) => os === process.platform && cpu === process.arch && (wanted === undefined || wanted === libc))?.name ?? null;
}

/**
 * The libraries at hand, by platform.
 * @param folder with `espalier-native.<platform>.node`, as the release workflow collects them; without it, the one that was built here
 */
export function librariesAtHand(folder) {
  if (folder === undefined) {
    const built = join(nativeFolder, 'espalier-native.node');
    const name = thisPlatform();
    return existsSync(built) && name !== null ? new Map([[name, built]]) : new Map();
  }
  const found = new Map();
  for (const file of readdirSync(folder, { recursive: true }).map(String)) {
    const name = /(?:^|\/)espalier-native\.([\w-]+)\.node$/.exec(file)?.[1];
    if (name === undefined) continue;
    if (!platforms.some((platform) => platform.name === name)) throw new Error(`${join(folder, file)}: there is no platform "${name}" in tools/release/platforms.json`);
    found.set(name, join(folder, file));
  }
  return found;
}

/** Writes the package of one platform's library into `folder`, ready to be packed. */
export function writePlatformPackage(platformName, library, folder) {
  const { name, os, cpu, libc } = platforms.find((platform) => platform.name === platformName);
  const native = readJson(join(nativeFolder, 'package.json'));
  const file = `espalier-native.${name}.node`;
  mkdirSync(folder, { recursive: true });
  copyFileSync(library, join(folder, file));
  copyFileSync(join(root, 'LICENSE'), join(folder, 'LICENSE'));
  const manifest = {
    name: `${native.name}-${name}`,
    version: native.version,
    description: `The Rust library of ${native.name} for ${name}`,
    keywords: native.keywords,
    license: native.license,
    type: 'commonjs',
    engines: native.engines,
    os: [os],
    cpu: [cpu],
    ...(libc && { libc: [libc] }),
    main: file,
    files: [file],
    publishConfig: native.publishConfig,
  };
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  writeFileSync(join(folder, 'README.md'), `# ${manifest.name}\n\nThe Rust library of [${native.name}](https://www.npmjs.com/package/${native.name}) for ${name}. npm installs it with that package; nothing imports it by hand.\n`);
  return manifest;
}
